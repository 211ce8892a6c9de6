"""One recording: its parts, how they begin and how they end.

It owns the core's recording, the watcher, the GPU side, the answers to requests
from outside, the hooks on signals and exceptions, and the console.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Protocol

from gpu_narration import _core, filters, tracedir
from gpu_narration._environment import (
    BACKEND_VARIABLE,
    FILTER_VARIABLE,
    ID_VARIABLE,
    OPTIONS_VARIABLE,
    PATH_VARIABLE,
)
from gpu_narration._errors import FilterError, TracePathError, internal_error, say
from gpu_narration._options import CHUNK_BYTES, Options, for_children, milliseconds
from gpu_narration._version import __version__
from gpu_narration.contexts.headers import set_recording
from gpu_narration.control import Request, Responder
from gpu_narration.cuda.backend import check_name
from gpu_narration.filters import Filter
from gpu_narration.gpu_side import GpuSide
from gpu_narration.stripping.choice import chosen
from gpu_narration.tracedir import TraceDirectory
from gpu_narration.watcher import Watcher

if TYPE_CHECKING:
    from gpu_narration.console import Console

#: How long the watcher waits for the disk when a request asks it to; it has other
#: work, and the end of the recording waits for it.
_PATIENCE_S = 1.0


class Hook(Protocol):
    """Something of the interpreter's that calls us until it is removed."""

    def remove(self) -> None: ...


class Recording:
    """Everything that lives as long as one recording of this process."""

    def __init__(self, options: Options, *, eager: bool = True) -> None:
        """Finds everything that can be wrong, before any file is made.

        Without ``eager`` a backend is chosen when it is first needed.  Raises
        :class:`FilterError`, :class:`UnknownBackendError` and, for a backend asked for
        by name, :class:`BackendUnavailableError`.
        """
        self.options = options
        self.filter = filters.parse(options.filter)
        check_name(options.backend)
        self._watcher = Watcher()
        self.gpu = GpuSide(options.backend, self._watcher)
        if options.backend not in ("auto", "none") and eager:
            self.gpu.session.choose()  # asked for by name: say now if it cannot be had
        #: What calls us; a forked child takes them over, since it inherits them.
        self.hooks: list[Hook] = []
        self._responder: Responder | None = None
        self._console: Console | None = None
        self._environment_before: dict[str, str | None] = {}

    # ---- its life ----

    def begin(self, directory: TraceDirectory) -> None:
        """Raises :class:`TracePathError` if nothing can be written there."""
        options = self.options
        process = f"{os.getpid()}-{_now_ns():x}"
        if options.control or options.control_signal is not None:
            self._responder = Responder(
                directory.path, process, self._respond,
                polls=options.control, signal=options.control_signal,
            )  # fmt: skip
            wanted = self._responder.open()
            if wanted is not None:
                with contextlib.suppress(FilterError):  # of another version's command
                    self.filter = filters.parse(wanted)
        _install_core_hooks()
        _core.set_hooks(threshold=None if self.filter.passes_everything else self._threshold)
        _core.refilter()
        try:
            _start_core(directory, process, options)
        except TracePathError:
            self._end_control()
            tracedir.take_back(directory)
            raise
        try:
            self._begin_around_core(directory, process)
        except BaseException:  # an interrupt, say: no recording is left that nobody owns
            self.end()
            raise

    def _begin_around_core(self, directory: TraceDirectory, process: str) -> None:
        options = self.options
        set_recording(directory.trace_id, process)
        _core.note("process", self._process_facts())
        stripped = chosen()
        if stripped:
            _core.note("strip", {"packages": "all" if stripped.everything else str(stripped)})
        self.gpu.begin(vram=options.vram, nvtx_domain=_attach_nvtx(options))
        if options.children:
            self._tell_children(directory)
        if self._responder is not None and options.control:
            self._watcher.add(self._responder.look)
        if options.console is not None:
            from gpu_narration.console import Console

            self._console = Console(directory.path, options.voice, options.console)

    def end(self) -> tuple[int, dict[str, int]]:
        """The errno of a last write that failed, or 0, and the final counts."""
        try:
            for hook in self.hooks:
                hook.remove()
            self._end_control()
            self.gpu.end()
            _core.flush(2000)  # so that what was written is counted
        finally:  # also when a Ctrl-C does not wait
            failures: dict[str, object] = {
                f"internal_errors.{where}": n for where, n in internal_error.counts.items()
            }
            outcome = _core.stop(failures) or (0, {})
            self._let_go()
        return outcome

    def _let_go(self) -> None:
        """Undoes what a recording changes outside of its trace."""
        set_recording("", "")
        _core.set_nvtx(None)
        _core.set_hooks(scope_enter=None, scope_exit=None, threshold=None)
        for name, value in self._environment_before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def finish_console(self) -> None:
        """Waits until all is shown; after the end."""
        if self._console is not None:
            self._console.finish()

    def _end_control(self) -> None:
        if self._responder is not None:
            self._responder.close()

    # ---- what it can be told ----

    def set_filter(self, parsed: Filter) -> None:
        # In this order: whichever thread comes last, its filter is asked from then on.
        self.filter = parsed
        _core.set_hooks(threshold=self._threshold)
        _core.refilter()
        _core.note("filter", {"filter": parsed.text})

    def dump(self, reason: str, timeout_s: float) -> bool:
        """Writes out what the ring holds; whether it is on disk."""
        timeout_ms = milliseconds("timeout_s", timeout_s)  # first: a wrong one is not noted
        if self.options.mode == "flight":
            counts = _core.stats() or {}
            noted = {name: counts.get(name) for name in ("records", "forgotten")}
            _core.note("dump", {"reason": reason, **noted})
        return _core.flush(timeout_ms, True)

    def look_for_requests(self) -> None:
        """Follows a request from outside now, if there is one."""
        if self._responder is not None:
            self._responder.look()

    def _threshold(self, module: str, actor: str, action: str) -> int:
        return self.filter.threshold(module, actor, action)

    def _respond(self, request: Request) -> tuple[bool, str]:
        """Does what was asked from outside: in the watcher, or in a signal handler."""
        if request.verb == "filter":
            if request.directives is not None:
                try:
                    self.set_filter(filters.parse(request.directives))
                except FilterError as error:
                    return False, str(error)
            return True, self.filter.text
        done = (
            self.dump("gpu-narration dump", _PATIENCE_S)
            if request.verb == "dump"
            else _core.flush(int(_PATIENCE_S * 1000))
        )
        counts = _core.stats() or {}
        if not done:
            number = counts.get("write_errno")
            return False, os.strerror(number) if number else "the disk is slow; it goes on"
        text = f"{counts.get('records', 0)} events recorded"
        if self.options.mode == "flight":
            text += f", {counts.get('forgotten', 0)} forgotten"
            if request.verb == "flush":
                text += "; a flight recorder's events stay in its ring until a dump"
        return True, text

    # ---- what it tells ----

    def _process_facts(self) -> dict[str, object]:
        system = os.uname()
        return {
            "pid": os.getpid(),
            "parent_pid": os.getppid(),
            "program": sys.argv[0] if sys.argv else "",
            "python": sys.version.partition(" ")[0],
            "gpu_narration": __version__,
            "host": system.nodename,
            "system": f"{system.sysname} {system.release} {system.machine}",
            "clock": _core.clock_source(),
            "filter": self.filter.text,
            "voice": self.options.voice,
            "mode": self.options.mode,
            "on_full": self.options.on_full,
        }

    def _tell_children(self, directory: TraceDirectory) -> None:
        inherited = {
            PATH_VARIABLE: str(directory.path),
            ID_VARIABLE: directory.trace_id,
            FILTER_VARIABLE: self.filter.text,
            BACKEND_VARIABLE: self.options.backend,
            OPTIONS_VARIABLE: for_children(self.options),
        }
        for name, value in inherited.items():
            self._environment_before[name] = os.environ.get(name)
            os.environ[name] = value


def _now_ns() -> int:
    import time

    return time.time_ns()


def _install_core_hooks() -> None:
    from gpu_narration._interrupts import owner_of
    from gpu_narration._summary import summary_rule
    from gpu_narration.narration.provenance import emitter_of
    from gpu_narration.redaction import parameter_rule

    _core.set_hooks(
        summarise=summary_rule,
        parameter_rule=parameter_rule,
        internal_error=internal_error,
        owner=owner_of,
        emitter=emitter_of,
    )


def _start_core(directory: TraceDirectory, process: str, options: Options) -> None:
    try:
        descriptor = os.open(directory.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _core.start(
                descriptor,
                process,
                flight=options.mode == "flight",
                drop=options.on_full == "drop",
                chunks=options.ring_bytes // CHUNK_BYTES,
                counter_clock=options.clock == "auto",
            )
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TracePathError(
            f"cannot write to {directory.path}: {error.strerror or error}",
            meaning=f"the ring of {options.ring_bytes >> 20} MiB must fit on that disk",
            next_step="choose another path, or a smaller ring (ring_bytes, run --ring-mib)",
        ) from error


def _attach_nvtx(options: Options) -> object:
    """The NVTX domain where a tool listens, or None."""
    from gpu_narration.cuda import ranges

    try:
        bridge = ranges.attach(options.nvtx, options.capture_range)  # type: ignore[arg-type]
    except ImportError as error:
        say(f"no NVTX ranges: {error} [no-nvtx]")
        bridge = None
    _core.set_nvtx(bridge)
    if bridge is None:
        return None
    _core.note("nvtx", {"domain": ranges.DOMAIN})
    return bridge.domain
