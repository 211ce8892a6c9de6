"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console


class TableConsole(Console):
    """Tells of a closed pipe as ``print`` does; Rich's own ends the process with status 1."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled: it goes on."""
        raise  # noqa: PLE0704 - what is handled by the caller
