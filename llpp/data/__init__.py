"""Images → batches of crops."""
