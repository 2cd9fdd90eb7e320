"""Training one round."""
