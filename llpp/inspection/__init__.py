"""The contents of a dataset: tables for the terminal, and contact sheets of random crops."""

from llpp.inspection.show import show_dataset

__all__ = ["show_dataset"]
