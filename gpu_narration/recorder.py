"""Starting and stopping a recording, and everything that lives as long as one.

The recorder owns the core's recording, the GPU session, the watcher and the
console.  There is one per process; a forked child that makes an event begins its
own in the same trace.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from gpu_narration import _core, tracedir
from gpu_narration._errors import (
    AlreadyRecordingError,
    GpuNarrationError,
    TracePathError,
    internal_error,
    say,
)
from gpu_narration._options import (
    BACKEND_VARIABLE,
    CHUNK_BYTES,
    FILTER_VARIABLE,
    Options,
    check,
)
from gpu_narration._version import __version__
from gpu_narration.tracedir import ID_VARIABLE, PATH_VARIABLE, TraceDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_narration.console import Console
    from gpu_narration.cuda.session import Session
    from gpu_narration.filters import Filter
    from gpu_narration.gpu_side import GpuSide

DEFAULT_PATH = "trace.gnt"

_lock = threading.RLock()
_active: Recorder | None = None


class Recorder:
    """A recording that runs; what :func:`start` returns.

    A context manager: leaving the block stops it.
    """

    def __init__(
        self, directory: TraceDirectory, options: Options, gpu: GpuSide, *, by_user: bool
    ) -> None:
        self._directory = directory
        self._options = options
        #: Whether the program itself started it, and may stop it.
        self._by_user = by_user
        self._pid = os.getpid()
        self._gpu = gpu
        self._console: Console | None = None
        self._environment_before: dict[str, str | None] = {}
        self._final_stats: dict[str, int] | None = None
        self._at_end: list[Callable[[dict[str, int]], None]] = []

    @property
    def path(self) -> Path:
        """The trace directory."""
        return self._directory.path

    @property
    def trace_id(self) -> str:
        return self._directory.trace_id

    @property
    def session(self) -> Session:
        """The GPU side of the recording: its backend and its timer."""
        return self._gpu.session

    @property
    def recording(self) -> bool:
        return _active is self and _core.stats() is not None

    def stats(self) -> dict[str, int]:
        """Counts: records, dropped, suppressed, waits, bytes_written, threads and more.

        After :meth:`stop`, what they were at the end.
        """
        return _core.stats() or self._final_stats or {}

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Waits until everything recorded so far is in the trace's files."""
        return flush(timeout_s)

    def at_end(self, call: Callable[[dict[str, int]], None]) -> None:
        """Calls back with the final counts once everything is on disk."""
        self._at_end.append(call)

    def stop(self) -> dict[str, int]:
        """Ends the recording; the final counts."""
        with _lock:
            if _active is self:
                stop()
        return self.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def start(
    path: str | os.PathLike[str] | None = None,
    *,
    filter: str | None = None,  # noqa: A002 - the word of the field, keyword-only
    console: bool | str | None = None,
    backend: str | None = None,
    on_full: Literal["wait", "drop"] = "wait",
    mode: Literal["stream", "flight"] = "stream",
    overwrite: bool = False,
    nvtx: Literal["auto", "on", "off"] = "auto",
    vram: bool = True,
    children: bool = True,
    clock: Literal["auto", "monotonic"] = "auto",
    ring_bytes: int = 8 << 20,
) -> Recorder:
    """Begins to record into the trace directory ``path``.

    path: directory, ``.gnt`` is appended if missing; default ``GPU_NARRATION_FILE``,
        else ``trace.gnt`` here, numbered if that exists.
    filter: directives as in :mod:`gpu_narration.filters`; default ``GPU_NARRATION``.
    console: True or a voice (human, cute, story) shows events on stderr as they
        happen.
    backend: auto, cupy, driver, mock or none; default ``GPU_NARRATION_BACKEND``, else
        auto, which never simulates.
    on_full: what a thread does when the ring is full: wait for the drain, or drop
        and count.
    mode: stream keeps everything; flight keeps the newest ``ring_bytes`` and writes
        them at the end.
    overwrite: replace a trace that is at ``path`` already.
    nvtx: mark ranges for an attached tool; auto looks for one that announced itself.
    vram: look at device memory; if False, not even for spans that ask for it.
    children: processes started from here record into the same trace.
    clock: auto uses the CPU's counter where it is steady.
    ring_bytes: size of the ring; it grows where many threads record at once.

    Where the command ``gpu-narration run`` or ``GPU_NARRATION_FILE`` has begun a
    recording already, that one is returned.

    Raises :class:`AlreadyRecordingError`, :class:`TraceExistsError`,
    :class:`TracePathError`, :class:`FilterError`, :class:`OptionError`,
    :class:`UnknownBackendError`, :class:`BackendUnavailableError`.
    """
    with _lock:
        if _active is not None:
            if not _active._by_user:
                say(
                    f"already recording to {_active.path}; start() of the program joins it [joined]"
                )
                return _active
            raise AlreadyRecordingError(
                f"this process records to {_active.path} already",
                next_step="call stop() first",
            )
        options = check(
            filter_text=filter,
            console=console,
            backend=backend,
            on_full=on_full,
            mode=mode,
            nvtx=nvtx,
            clock=clock,
            vram=vram,
            children=children,
            ring_bytes=ring_bytes,
        )
        checked = _check(options)
        directory = _directory(path, overwrite=overwrite)
        return _begin(directory, options, checked, by_user=True)


def stop() -> None:
    """Ends the recording, if one runs; everything recorded is on disk afterwards.

    A recording begun by ``gpu-narration run`` or the environment goes on until
    the process ends.
    """
    with _lock:
        if _active is not None and _active._by_user:
            _end(_active)


def flush(timeout_s: float = 10.0) -> bool:
    """Waits until everything recorded so far is in the trace's files; whether it is."""
    return _core.flush(int(timeout_s * 1000))


def stats() -> dict[str, int] | None:
    """Counts of the recording that runs, or None."""
    return _core.stats()


def set_filter(text: str) -> None:
    """Changes the filter of the recording that runs, for all threads at once.

    Raises :class:`FilterError`; the old filter then stays.
    """
    from gpu_narration import filters

    parsed = filters.parse(text)
    with _lock:
        _apply_filter(parsed)
        _core.note("filter", {"filter": text})


# ---- beginning ----


def _check(options: Options, *, eager: bool = True) -> tuple[Filter, GpuSide]:
    """Everything that can be wrong in the options, before any file is made."""
    from gpu_narration import filters
    from gpu_narration.cuda.backend import check_name
    from gpu_narration.gpu_side import GpuSide

    parsed = filters.parse(options.filter)
    check_name(options.backend)
    gpu = GpuSide(options.backend)
    if options.backend not in ("auto", "none") and eager:
        gpu.session.choose()  # asked for by name: say now if it cannot be had
    return parsed, gpu


def _directory(path: str | os.PathLike[str] | None, *, overwrite: bool) -> TraceDirectory:
    if path is not None:
        return tracedir.prepare(path, overwrite=overwrite)
    given = os.environ.get(PATH_VARIABLE)
    trace_id = os.environ.get(ID_VARIABLE)
    if given and trace_id:
        joined = tracedir.join(given, trace_id)
        if joined is not None:
            return joined
    wanted = tracedir.with_suffix(given or DEFAULT_PATH)
    free = tracedir.unused(wanted)
    if free != wanted:
        say(f"{wanted} exists; recording to {free} [path-taken]")
    return tracedir.prepare(free)


def _begin(
    directory: TraceDirectory,
    options: Options,
    checked: tuple[Filter, GpuSide],
    *,
    by_user: bool,
) -> Recorder:
    global _active  # noqa: PLW0603 - one recording a process
    parsed, gpu = checked
    recorder = Recorder(directory, options, gpu, by_user=by_user)
    _install_hooks()
    _apply_filter(parsed)
    _start_core(directory, options)
    _active = recorder
    _core.note("process", _process_facts(options))
    _attach_nvtx(options.nvtx)
    gpu.begin(vram=options.vram)
    if options.children:
        _tell_children(recorder)
    _end_with_multiprocessing()
    if options.voice is not None:
        from gpu_narration.console import Console

        recorder._console = Console(directory.path, options.voice)
    return recorder


def _start_core(directory: TraceDirectory, options: Options) -> None:
    prefix = f"{os.getpid()}-{_now_ns():x}"
    try:
        descriptor = os.open(directory.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _core.start(
                descriptor,
                prefix,
                flight=options.mode == "flight",
                drop=options.on_full == "drop",
                chunks=options.ring_bytes // CHUNK_BYTES,
                counter_clock=options.clock == "auto",
            )
        finally:
            os.close(descriptor)
    except OSError as error:
        tracedir.take_back(directory)
        raise TracePathError(
            f"cannot write to {directory.path}: {error.strerror or error}",
            meaning=f"the ring of {options.ring_bytes >> 20} MiB must fit on that disk",
            next_step="choose another path, or a smaller ring (ring_bytes, run --ring-mib)",
        ) from error


def _now_ns() -> int:
    import time

    return time.time_ns()


def _install_hooks() -> None:
    from gpu_narration._summary import summary_rule
    from gpu_narration.redaction import parameter_rule

    _core.set_hooks(
        summarise=summary_rule,
        parameter_rule=parameter_rule,
        internal_error=internal_error,
    )


def _apply_filter(parsed: Filter) -> None:
    _core.set_hooks(threshold=None if parsed.passes_everything else parsed.threshold)
    _core.refilter()


def _process_facts(options: Options) -> dict[str, object]:
    import platform

    return {
        "pid": os.getpid(),
        "parent_pid": os.getppid(),
        "program": sys.argv[0] if sys.argv else "",
        "python": platform.python_version(),
        "gpu_narration": __version__,
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "clock": _core.clock_source(),
        "filter": options.filter,
        "mode": options.mode,
        "on_full": options.on_full,
    }


def _attach_nvtx(mode: str) -> None:
    from gpu_narration.cuda import ranges

    try:
        bridge = ranges.attach(mode)  # type: ignore[arg-type]
    except ImportError as error:
        say(f"no NVTX ranges: {error} [no-nvtx]")
        bridge = None
    _core.set_nvtx(bridge)
    if bridge is not None:
        _core.note("nvtx", {"domain": ranges.DOMAIN})


def _tell_children(recorder: Recorder) -> None:
    inherited = {
        PATH_VARIABLE: str(recorder.path),
        ID_VARIABLE: recorder.trace_id,
        FILTER_VARIABLE: recorder._options.filter,
        BACKEND_VARIABLE: recorder._options.backend,
    }
    for name, value in inherited.items():
        recorder._environment_before[name] = os.environ.get(name)
        os.environ[name] = value


# ---- ending ----


def _end(recorder: Recorder) -> None:
    global _active  # noqa: PLW0603 - one recording a process
    recorder._gpu.end()
    _core.flush(2000)  # so that what was written is counted
    _active = None
    failures = {f"internal_errors.{where}": n for where, n in internal_error.counts.items()}
    error, recorder._final_stats = _core.stop(failures) or (0, {})
    if error:
        say(
            f"the last events could not be written: {os.strerror(error)}; they are in the ring "
            f"file, and 'gpu-narration show {recorder.path}' reads them [ring-kept]"
        )
    _core.set_nvtx(None)
    _core.set_hooks(scope_enter=None, scope_exit=None)
    for name, value in recorder._environment_before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if recorder._console is not None:
        recorder._console.finish()
    for call in recorder._at_end:
        call(recorder.stats())


def _at_exit() -> None:
    with _lock:
        if _active is not None and _active._pid == os.getpid():
            _end(_active)


def _end_with_multiprocessing() -> None:
    """Children that multiprocessing forked end without atexit, after its finalizers."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return
    from multiprocessing import get_start_method, util

    method = getattr(process.current_process(), "_start_method", None) or get_start_method()
    if method != "spawn":
        util.Finalize(None, _at_end_of_child, exitpriority=-sys.maxsize)


def _at_end_of_child() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()  # as multiprocessing does next
    _at_exit()


# ---- beginning by itself ----


def start_for_command(
    path: str | os.PathLike[str], *, overwrite: bool, console: bool | str | None, **options: object
) -> Recorder:
    """What ``gpu-narration run`` does; the program cannot stop this recording."""
    recorder = start(path, overwrite=overwrite, console=console, **options)  # type: ignore[arg-type]
    recorder._by_user = False
    return recorder


def _autostart() -> None:
    """At the first event: the environment may ask for a recording, or we are a fork's child."""
    with _lock:
        parent = _forked_from
        if parent is not None:
            _begin(
                parent._directory,
                replace(parent._options, voice=None),
                _check(parent._options, eager=False),
                by_user=parent._by_user,
            )
        elif os.environ.get(PATH_VARIABLE) and _active is None:
            try:
                start()._by_user = False
            except GpuNarrationError as error:
                say(f"nothing is recorded: {error}")


_forked_from: Recorder | None = None


def _after_fork_in_child() -> None:
    global _active, _forked_from, _lock  # noqa: PLW0603 - the child's state is new
    _lock = threading.RLock()
    if _active is not None:
        from gpu_narration.cuda import session as sessions

        sessions.set_current(None)
        _forked_from, _active = _active, None
        _core.set_nvtx(None)
        _core.set_hooks(scope_enter=None, scope_exit=None)
    _core.after_fork()


_core.set_hooks(autostart=_autostart)
_core.set_autostart(bool(os.environ.get(PATH_VARIABLE)))
atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
