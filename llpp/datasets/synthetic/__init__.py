"""Drawn human figures."""
