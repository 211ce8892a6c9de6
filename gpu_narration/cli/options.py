"""What several verbs share: colour, and errors told in one line."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from gpu_narration._errors import GpuNarrationError
from gpu_narration.views.escape import safe

F = TypeVar("F", bound=Callable[..., Any])

color_option = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colour; auto colours terminals only, and none where NO_COLOR is set.",
)


class Finite(click.FloatRange):
    """A number in a range.  NaN is in every range of click's, and in none of these."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number that can be used here", param, ctx)
        return number


timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=Finite(0.1, 3600),
    default=5.0,
    show_default=True,
    help="How long to wait for an answer, in seconds.",
)


def wants_color(choice: str, stream: Any) -> bool:
    """Whether to colour what goes to a stream."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", lambda: False)())


def drop_output() -> None:
    """What is still to be written to stdout goes nowhere."""
    with contextlib.suppress(OSError, ValueError):  # a stdout that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report_errors(command: F) -> F:
    """Our errors become one line and exit status 2, like those of the system;
    a closed pipe ends quietly.  Paths and names in them are made safe for a terminal.
    """

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            outcome = command(*args, **kwargs)
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is told here, not at exit
        except GpuNarrationError as error:
            raise click.ClickException(safe(str(error))) from error
        except KeyboardInterrupt:
            sys.exit(130)  # the usual way to end --follow
        except BrokenPipeError:
            # The reader (head, less) has enough.  Python would complain at exit.
            drop_output()
            sys.exit(0)
        except OSError as error:
            drop_output()
            raise click.ClickException(safe(f"{error} [system-error]")) from error
        return outcome

    return guarded  # type: ignore[return-value]


# Every error of ours has the status that click has for errors of use.
click.ClickException.exit_code = 2
