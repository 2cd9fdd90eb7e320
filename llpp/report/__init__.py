"""Tables, figures and one page from the files of any number of runs."""

from llpp.report.page import write
from llpp.report.reference import published
from llpp.report.terminal import print_tables

__all__ = ["print_tables", "published", "write"]
