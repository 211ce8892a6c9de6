"""What several verbs share: colour, and errors told in one line."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from gpu_narration._errors import GpuNarrationError

F = TypeVar("F", bound=Callable[..., Any])

color_option = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colour; auto colours terminals only, and none where NO_COLOR is set.",
)


def wants_color(choice: str, stream: Any) -> bool:
    """Whether to colour what goes to a stream."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", lambda: False)())


def report_errors(command: F) -> F:
    """Our errors become one line and exit status 2; a closed pipe ends quietly."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except GpuNarrationError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            # The reader (head, less) has enough.  Python would complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)

    return guarded  # type: ignore[return-value]


class UsageStatus(click.ClickException):
    """An error of use; click's own exit status for it."""

    exit_code = 2


click.ClickException.exit_code = 2
