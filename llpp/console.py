"""Rich's console for tables."""

from typing import NoReturn

from rich.console import Console


class TableConsole(Console):
    """A console that says when nobody reads any more; see `llpp.terminal.end_with_reader`."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise BrokenPipeError; Rich itself would exit with 1, which is `llpp data`'s code for problems."""
        raise BrokenPipeError
