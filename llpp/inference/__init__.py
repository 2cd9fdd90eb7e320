"""Trained networks on any records."""
