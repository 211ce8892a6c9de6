"""The errors of this package, and what it does about its own failures.

Every message says what is wrong, what that means and what to do next, and ends
in a slug that docs/messages.md explains.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import ClassVar

#: With this set, our own failures raise instead of being contained.  For tests.
RAISE_VARIABLE = "GPU_NARRATION_RAISE_INTERNAL"


class GpuNarrationError(Exception):
    """Base of all errors that this package raises on purpose."""

    slug: ClassVar[str] = "error"

    def __init__(self, problem: str, *, meaning: str = "", next_step: str = "") -> None:
        self.problem = problem
        self.meaning = meaning
        self.next_step = next_step
        parts = [part for part in (problem, meaning, next_step) if part]
        from gpu_narration._escape import safe

        # Names of files and words of users stand in it, and tracebacks print it as it is.
        super().__init__(safe(f"{'; '.join(parts)} [{self.slug}]"))


class TracePathError(GpuNarrationError):
    """The trace directory cannot be made or written."""

    slug = "trace-path"


class TraceExistsError(TracePathError):
    """There is a trace at that path already, or a directory that is none."""

    slug = "trace-exists"


class AlreadyRecordingError(GpuNarrationError):
    """A recording runs in this process already."""

    slug = "already-recording"


class FilterError(GpuNarrationError, ValueError):
    """A filter directive does not parse."""

    slug = "bad-filter"


class OptionError(GpuNarrationError, ValueError):
    """An option has a value that it cannot have."""

    slug = "bad-option"


class UnknownBackendError(OptionError):
    """No backend has that name."""

    slug = "unknown-backend"


class BackendUnavailableError(GpuNarrationError):
    """A backend that was asked for by name cannot work here."""

    slug = "backend-unavailable"


class TemplateError(GpuNarrationError, ValueError):
    """A sentence given to ``narrate_fn`` cannot be filled in."""

    slug = "bad-template"


class MarkerError(GpuNarrationError):
    """A marker of a test has arguments that it cannot have."""

    slug = "bad-marker"


class NotATraceError(GpuNarrationError):
    """What should be read is not a trace."""

    slug = "not-a-trace"


class MissingExtraError(GpuNarrationError, ImportError):
    """Something was asked for that needs a package of an extra, which is not installed."""

    slug = "missing-extra"


class ExportError(GpuNarrationError):
    """Another tool did not take what was to be exported to it."""

    slug = "export-failed"


class NoNvmlError(GpuNarrationError):
    """The machine's memory was asked for and NVML cannot tell it."""

    slug = "no-nvml"


class NarrationStyleWarning(UserWarning):
    """A template of a decorated function breaks a rule for texts; docs/lint.md has the rules."""


class NsightReportError(GpuNarrationError):
    """What should be read is no report of Nsight Systems, or a damaged one."""

    slug = "nsight-report"


class NsightJoinError(GpuNarrationError):
    """A report and a trace cannot be joined, or what a join left cannot be read."""

    slug = "nsight-join"


class AlreadyTracedError(GpuNarrationError):
    """A library or a function is traced already, in another way."""

    slug = "already-traced"


class NothingToTraceError(GpuNarrationError):
    """There is no function of C code in what should be traced."""

    slug = "nothing-to-trace"


class _Internal:
    """Our own failures: counted, shown once a place, raised only in our tests."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def __call__(self, where: str, error: BaseException | None) -> None:
        first = where not in self.counts
        self.counts[where] = self.counts.get(where, 0) + 1
        if os.environ.get(RAISE_VARIABLE) and error is not None:
            # From a C hook this cannot reach the program: the exit status must.
            print(f"gpu_narration: internal error in {where}: {error!r}", file=sys.stderr)
            sys.stderr.flush()
            os._exit(70)
        if first and sys.stderr is not None:
            say(f"internal error in {where}, the program goes on: {error!r} [internal-error]")


internal_error = _Internal()


def say(message: str) -> None:
    """One line to the person at the terminal; never fails."""
    # stderr may be closed or gone: then there is nobody to tell.
    from gpu_narration._escape import safe

    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(safe(f"gpu_narration: {message}"), file=sys.stderr, flush=True)
