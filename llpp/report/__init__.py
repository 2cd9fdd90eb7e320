"""Tables, figures and one page from the files of any number of runs."""

from llpp.report.page import write
from llpp.report.tables import print_tables

__all__ = ["print_tables", "write"]
