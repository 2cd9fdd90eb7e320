"""Tables, figures and one page from the files of any number of runs."""

from llpp.report.page import write_report
from llpp.report.reference import get_reference
from llpp.report.terminal import print_tables

__all__ = ["get_reference", "print_tables", "write_report"]
