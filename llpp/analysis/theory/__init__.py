"""The mathematics of both papers' objectives in NumPy; docs/mathematics.md derives it."""
