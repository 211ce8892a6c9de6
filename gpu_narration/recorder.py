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
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from gpu_narration import _core, tracedir
from gpu_narration._errors import (
    AlreadyRecordingError,
    GpuNarrationError,
    OptionError,
    TracePathError,
    internal_error,
    say,
)
from gpu_narration._version import __version__
from gpu_narration.tracedir import ID_VARIABLE, PATH_VARIABLE, TraceDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_narration.console import Console
    from gpu_narration.cuda.scopes import ScopeHook
    from gpu_narration.cuda.session import Session
    from gpu_narration.cuda.vram import Sampler
    from gpu_narration.filters import Filter
    from gpu_narration.watcher import Watcher

FILTER_VARIABLE = "GPU_NARRATION"
VOICE_VARIABLE = "GPU_NARRATION_VOICE"
BACKEND_VARIABLE = "GPU_NARRATION_BACKEND"
VOICES = ("human", "cute", "story")
DEFAULT_PATH = "trace.gnt"
CHUNK_BYTES = 64 * 1024

#: How long the watcher waits between looks at unfinished GPU events.
_GPU_POLL_S = 0.005

_lock = threading.RLock()
_active: Recorder | None = None


class Recorder:
    """A recording that runs; what :func:`start` returns.

    A context manager: leaving the block stops it.
    """

    def __init__(
        self, directory: TraceDirectory, options: dict[str, object], *, by_user: bool
    ) -> None:
        self._directory = directory
        self._options = options
        #: Whether the program itself started it, and may stop it.
        self._by_user = by_user
        self._pid = os.getpid()
        self._session: Session | None = None
        self._watcher: Watcher | None = None
        self._sampler: Sampler | None = None
        self._hook: ScopeHook | None = None
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
    def session(self) -> Session | None:
        """The GPU side of the recording."""
        return self._session

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
    backend: auto, cupy, mock or none; default ``GPU_NARRATION_BACKEND``, else auto,
        which never simulates.
    on_full: what a thread does when the ring is full: wait for the drain, or drop
        and count.
    mode: stream keeps everything; flight keeps the newest ``ring_bytes`` and writes
        them at the end.
    overwrite: replace a trace that is at ``path`` already.
    nvtx: mark ranges for an attached tool; auto looks for one that announced itself.
    vram: watch device memory.
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
                say(f"already recording to {_active.path}; start() of the program joins it")
                return _active
            raise AlreadyRecordingError(
                f"this process records to {_active.path} already",
                next_step="call stop() first",
            )
        options: dict[str, object] = {
            "filter": os.environ.get(FILTER_VARIABLE, "") if filter is None else filter,
            "console": _voice(console),
            "backend": backend or os.environ.get(BACKEND_VARIABLE) or "auto",
            "on_full": _one_of("on_full", on_full, ("wait", "drop")),
            "mode": _one_of("mode", mode, ("stream", "flight")),
            "nvtx": _one_of("nvtx", nvtx, ("auto", "on", "off")),
            "clock": _one_of("clock", clock, ("auto", "monotonic")),
            "vram": vram,
            "children": children,
            "ring_bytes": _ring_bytes(ring_bytes),
        }
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


def _voice(console: bool | str | None) -> str | None:
    if console is None or console is False:
        return None
    default = os.environ.get(VOICE_VARIABLE) or "human"
    return _one_of("console", default if console is True else console, VOICES)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise OptionError(
            f"{option}={value!r} is not possible", next_step=f"choose one of {', '.join(allowed)}"
        )
    return value


def _ring_bytes(value: int) -> int:
    if not 8 * CHUNK_BYTES <= value <= 1 << 34:
        raise OptionError(
            f"ring_bytes={value} is not possible", next_step="choose 512 KiB to 16 GiB"
        )
    return value


def _check(options: dict[str, object], *, eager: bool = True) -> tuple[Filter, Session]:
    """Everything that can be wrong in the options, before any file is made."""
    from gpu_narration import filters
    from gpu_narration.cuda.backend import check_name
    from gpu_narration.cuda.session import Session

    parsed = filters.parse(str(options["filter"]))
    name = str(options["backend"])
    check_name(name)
    session = Session(name, _wake_gpu)
    if name not in ("auto", "none") and eager:
        session.choose()  # asked for by name: say now if it cannot be had
    return parsed, session


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
        say(f"{wanted} exists; recording to {free}")
    return tracedir.prepare(free)


def _begin(
    directory: TraceDirectory,
    options: dict[str, object],
    checked: tuple[Filter, Session],
    *,
    by_user: bool,
) -> Recorder:
    global _active  # noqa: PLW0603 - one recording a process
    parsed, session = checked
    recorder = Recorder(directory, options, by_user=by_user)
    recorder._session = session
    _install_hooks()
    _apply_filter(parsed)
    _start_core(directory, options)
    _active = recorder
    _core.note("process", _process_facts(options))
    _attach_nvtx(str(options["nvtx"]))
    _begin_gpu(recorder)
    if options["children"]:
        _tell_children(recorder)
    _end_with_multiprocessing()
    if options["console"]:
        from gpu_narration.console import Console

        recorder._console = Console(directory.path, str(options["console"]))
    return recorder


def _start_core(directory: TraceDirectory, options: dict[str, object]) -> None:
    ring_bytes = options["ring_bytes"]
    assert isinstance(ring_bytes, int)
    prefix = f"{os.getpid()}-{_now_ns():x}"
    try:
        descriptor = os.open(directory.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _core.start(
                descriptor,
                prefix,
                flight=options["mode"] == "flight",
                drop=options["on_full"] == "drop",
                chunks=ring_bytes // CHUNK_BYTES,
                counter_clock=options["clock"] == "auto",
            )
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TracePathError(
            f"cannot write to {directory.path}: {error.strerror or error}",
            meaning=f"the ring of {ring_bytes >> 20} MiB must fit on that disk",
            next_step="choose another path, or a smaller ring_bytes",
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


def _process_facts(options: dict[str, object]) -> dict[str, object]:
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
        "filter": options["filter"],
        "mode": options["mode"],
        "on_full": options["on_full"],
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
        FILTER_VARIABLE: str(recorder._options["filter"]),
        BACKEND_VARIABLE: str(recorder._options["backend"]),
    }
    for name, value in inherited.items():
        recorder._environment_before[name] = os.environ.get(name)
        os.environ[name] = value


# ---- the GPU side ----


def _begin_gpu(recorder: Recorder) -> None:
    from gpu_narration.cuda import session as sessions
    from gpu_narration.cuda.scopes import ScopeHook
    from gpu_narration.watcher import Watcher

    session = recorder._session
    assert session is not None
    session.announce()
    sessions.set_current(session)
    recorder._watcher = Watcher()
    hook = recorder._hook = ScopeHook(session)
    _core.set_hooks(scope_enter=hook.enter, scope_exit=hook.exit)
    if not recorder._options["vram"]:
        hook.no_memory = "VRAM is switched off"
        hook.may_read = False
    elif recorder._options["backend"] == "none":
        hook.no_memory = "backend none was asked for"
    elif session.simulated:
        _watch_simulated_memory(recorder, session, hook)
    else:
        # In the watcher: making contact with a driver can take its time.
        recorder._watcher.add(lambda: _watch_memory(recorder, hook))


def _watch_simulated_memory(recorder: Recorder, session: Session, hook: ScopeHook) -> None:
    from gpu_narration.cuda.vram import Sampler

    backend = session.backend
    assert backend is not None, "the simulator can always be had"
    assert recorder._watcher is not None
    _core.note("vram", {"source": "simulated"})
    recorder._sampler = hook.sampler = Sampler(
        backend.devices(), backend.memory_info, simulated=True
    )
    recorder._sampler.poll()
    recorder._watcher.add(recorder._sampler.poll)


def _watch_memory(recorder: Recorder, hook: ScopeHook) -> None:
    """Finds out whether NVML can be read, and begins to sample it."""
    from gpu_narration.cuda.nvml import Nvml, NvmlUnavailable
    from gpu_narration.cuda.vram import Sampler

    try:
        nvml = Nvml()
    except NvmlUnavailable as reason:
        hook.no_memory = f"no NVML: {reason}"
        _core.note("vram", {"source": None, "reason": str(reason)})
        return
    _core.note("vram", {"source": "NVML", "memory_version": nvml.memory_version})
    hook.sampled = nvml.memory_info
    recorder._sampler = hook.sampler = Sampler(nvml.devices, nvml.memory_info)
    assert recorder._watcher is not None
    recorder._watcher.add(recorder._sampler.poll)


def _wake_gpu() -> None:
    recorder = _active
    if recorder is not None and recorder._watcher is not None:
        recorder._watcher.add(_poll_gpu)


def _poll_gpu() -> float | None:
    recorder = _active
    session = recorder._session if recorder is not None else None
    if session is None or session.timer is None:
        return None
    return _GPU_POLL_S if session.timer.poll() > 0 else None


# ---- ending ----


def _end(recorder: Recorder) -> None:
    global _active  # noqa: PLW0603 - one recording a process
    from gpu_narration.cuda import session as sessions

    if recorder._watcher is not None and not recorder._watcher.stop():
        say("a GPU query hangs; it is left behind [watcher-hangs]")
    if recorder._session is not None:
        recorder._session.finish()
    sessions.set_current(None)
    sampler = recorder._sampler
    if sampler is not None:
        _core.note("vram_cost", {"samples": sampler.samples, "cost_ns": sampler.cost_ns})
    _core.flush(2000)  # so that what was written is counted
    final = _core.stats()
    recorder._final_stats = final
    _core.note(
        "end",
        {**(final or {}), **{f"internal_errors.{k}": v for k, v in internal_error.counts.items()}},
    )
    _active = None
    error = _core.stop()
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
                parent._directory, {**parent._options, "console": None},
                _check(parent._options, eager=False), by_user=parent._by_user,
            )  # fmt: skip
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
