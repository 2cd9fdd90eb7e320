"""Human pose: heatmaps, losses, PCK."""
