"""Measurements behind the claims about speed and memory: one script per claim, one JSON line per number."""
