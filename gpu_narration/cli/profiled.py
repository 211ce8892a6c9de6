"""``run --nsys``: the program under Nsight Systems, recorded by us as well."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from gpu_narration._errors import OptionError, say
from gpu_narration._marker import SUFFIX
from gpu_narration.nsight.profile import Report, command
from gpu_narration.nsight.tool import NoNsysError, NsysError, denied, find_nsys
from gpu_narration.tracedir import with_suffix

#: Signals that end a run are nsys's business: it ends the program and writes the report.
_HANDED_ON = (signal.SIGTERM, signal.SIGHUP)
#: Options of ours that are not for the inner command, which records alone.
_OUTER = frozenset({"nsys", "dry_run", "memory_usage", "output", "module", "program",
                    "capture_range", "nvtx"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Profiled:
    """A command that profiles the program.  Calling it runs it, and ends with its status."""

    line: list[str]
    report: Report
    trace: Path
    capture_range: str | None
    quiet: bool

    def __call__(self) -> None:
        """Runs the command; raises SystemExit with its status."""
        sys.exit(self._status())

    def _status(self) -> int:
        before = {path: path.stat().st_mtime_ns for path in self.report.there()}
        try:
            child = subprocess.Popen(self.line)
        except OSError as error:
            return self._failed(
                NsysError(
                    f"{self.line[0]} cannot be run: {error.strerror or error}",
                    next_step="install Nsight Systems anew",
                )
            )
        # Ctrl-C reaches nsys from the terminal by itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in _HANDED_ON:
            signal.signal(number, lambda given, _: child.send_signal(given))
        status = child.wait()
        written = [
            path for path in self.report.there() if path.stat().st_mtime_ns != before.get(path)
        ]
        if not written:
            return self._failed(self._no_report(status))
        if not self.quiet:
            self._say_what_next(written)
        return status if status >= 0 else 128 - status

    def _no_report(self, status: int) -> NsysError:
        if self.capture_range is not None:
            meaning = (
                f"it collects from the first span or range named {self.capture_range!r} on, "
                "and perhaps none began"
            )
            next_step = f"gpu-narration show {shlex.quote(str(self.trace))} lists the names"
        else:
            meaning = f"it ended with status {status}; what it says above tells why"
            next_step = "'nsys status --environment' says what this machine allows"
        return NsysError(
            f"nsys wrote no report to {self.report.report}", meaning=meaning, next_step=next_step
        )

    def _failed(self, error: NsysError) -> int:
        from gpu_narration.views.escape import safe

        click.echo(f"Error: {safe(str(error))}", err=True)
        return 2

    def _say_what_next(self, written: list[Path]) -> None:
        what = self.report.sqlite if self.report.sqlite in written else self.report.report
        say(
            f"the report is {', '.join(map(str, written))}; join it with the trace: "
            f"gpu-narration nsys join {shlex.quote(str(self.trace))} {shlex.quote(str(what))}"
        )


def prepare(
    path: str | os.PathLike[str],
    application: Sequence[str],
    *,
    options: Sequence[str],
    capture_range: str | None,
    memory_usage: bool,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
) -> Profiled | None:
    """The command to run, or None after printing it for ``dry_run``.

    Raises :class:`NoNsysError`, and :class:`NsysError` where a report is in the way.
    """
    trace = with_suffix(path)
    base = trace.with_name(trace.name.removesuffix(SUFFIX))
    nsys = "nsys"
    try:
        found = find_nsys()
    except NoNsysError as error:
        if not dry_run:
            raise
        say(str(error))
    else:
        nsys = str(found.path)
        for shortcoming in found.shortcomings():
            say(f"{shortcoming} [nsys]")
    line, report = command(
        nsys,
        application,
        base,
        options=options,
        capture_range=capture_range,
        memory_usage=memory_usage,
        overwrite=overwrite,
    )
    for refusal in denied(options):
        say(f"{refusal} [nsys-permission]")
    if dry_run:
        click.echo(shlex.join(line))
        return None
    for there in report.there():
        if not overwrite and "--force-overwrite=true" not in options:
            raise NsysError(
                f"{there} is there already", next_step="add --overwrite, or choose another -o"
            )
    return Profiled(line, report, trace, capture_range, quiet)


def recorded_again(
    path: str | os.PathLike[str],
    ctx: click.Context,
    module: str | None,
    program: Sequence[str],
) -> list[str]:
    """The command that nsys starts: ``run`` once more, with our options and without nsys."""
    line = [sys.executable, "-m", "gpu_narration.cli", "run", f"--output={os.fspath(path)}"]
    # Explicitly: a tool that announces itself in another way is asked too.
    nvtx = ctx.params["nvtx"]
    line.append(f"--nvtx={'on' if nvtx == 'auto' else nvtx}")
    if nvtx == "off" and ctx.params["capture_range"] is not None:
        raise OptionError(
            "--nvtx off leaves nothing to capture by",
            next_step="leave out --nvtx off, or --capture-range",
        )
    for parameter in ctx.command.get_params(ctx):
        if not isinstance(parameter, click.Option) or parameter.name in _OUTER:
            continue
        assert parameter.name is not None
        value = ctx.params.get(parameter.name)
        if parameter.multiple:
            line += [f"{parameter.opts[0]}={one}" for one in value or ()]
            continue
        if value == parameter.get_default(ctx) or value is None:
            continue
        if parameter.is_flag:
            line.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            line.append(f"{parameter.opts[0]}={value}")
    return [*line, "-m", module, *program] if module is not None else [*line, *program]
