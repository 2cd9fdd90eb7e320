"""The mathematics of both papers' objectives in NumPy: derived in docs/mathematics.md."""
