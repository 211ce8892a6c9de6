"""The recording of this process: starting it, stopping it, and what happens by itself.

There is one per process.  It begins by a call, or at the first event where the
environment asks for it, and ends by a call or with the process; a forked child
that makes an event begins its own in the same trace.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Literal, Self

from gpu_narration import _core
from gpu_narration._environment import ID_VARIABLE, PATH_VARIABLE
from gpu_narration._errors import AlreadyRecordingError, GpuNarrationError, say

# What only a recording needs is imported where one begins: most programs that
# import this package do not record.
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from gpu_narration.cuda.session import Session
    from gpu_narration.recording import Recording
    from gpu_narration.tracedir import TraceDirectory

DEFAULT_PATH = "trace.gnt"

_lock = threading.RLock()
_active: Recorder | None = None


class Recorder:
    """A recording that runs; what :func:`start` returns.

    A context manager: leaving the block stops it.
    """

    def __init__(self, directory: TraceDirectory, recording: Recording, *, by_user: bool) -> None:
        self._directory = directory
        self._recording = recording
        #: Whether the program itself started it, and may stop it.
        self._by_user = by_user
        self._pid = os.getpid()
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
        return self._recording.gpu.session

    @property
    def recording(self) -> bool:
        return _active is self and _core.stats() is not None

    def stats(self) -> dict[str, int]:
        """Counts: records, dropped, forgotten, suppressed, waits, bytes_written and more.

        records: events of all threads; each of them is in the trace, or forgotten
            (a flight recorder wrote over it).
        dropped: events that found the ring full (``on_full="drop"``, a full disk).

        After :meth:`stop`, what they were at the end.
        """
        return _core.stats() or self._final_stats or {}

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Waits until everything recorded so far is in the trace's files; whether it is.

        The events of a flight recorder stay in its ring: see :meth:`dump`.
        """
        return flush(timeout_s)

    def dump(self, reason: str = "", timeout_s: float = 10.0) -> bool:
        """Writes what the ring of a flight recorder holds into the trace, and goes on.

        The trace notes when and why.  No event is written twice.  Returns whether all
        of it is on disk; in stream mode this is :meth:`flush`.
        """
        return dump(reason, timeout_s) if _active is self else False

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
    voice: str | None = None,
    backend: str | None = None,
    on_full: Literal["wait", "drop"] = "wait",
    mode: Literal["stream", "flight"] = "stream",
    dump_on_exception: bool = True,
    dump_signal: str | int | None = None,
    control: bool = True,
    control_signal: str | int | None = None,
    overwrite: bool = False,
    nvtx: Literal["auto", "on", "off"] = "auto",
    capture_range: str | None = None,
    vram: bool = True,
    children: bool = True,
    clock: Literal["auto", "monotonic"] = "auto",
    ring_bytes: int = 8 << 20,
) -> Recorder:
    """Begins to record into the trace directory ``path``.

    path: directory, ``.gnt`` is appended if missing; default ``GPU_NARRATION_FILE``,
        else ``trace.gnt`` here, numbered if that exists.
    filter: directives as in :mod:`gpu_narration.filters`; default ``GPU_NARRATION``.
    console: True or a format (text, pretty, json, logfmt) shows events on stderr as they
        happen; a voice stands for text in that voice.
    voice: human, cute or story: whose words the console, and later ``show``, prefer;
        default ``GPU_NARRATION_VOICE``, else human.
    backend: auto, cupy, driver, mock or none; default ``GPU_NARRATION_BACKEND``, else
        auto, which never simulates.
    on_full: what a thread does when the ring is full: wait for the drain, or drop
        and count.
    mode: stream keeps everything; flight keeps the newest ``ring_bytes`` and writes
        them when :meth:`Recorder.dump` is called, and at the end.
    dump_on_exception: flight only: dump on an exception that nobody handles, in any
        thread, before it is reported.
    dump_signal: flight only: dump on this signal (``"SIGUSR1"``).
    control: ``gpu-narration filter``, ``dump`` and ``flush`` can steer this process;
        a background thread looks for them once a second.
    control_signal: look for them on this signal, at once; with ``control=False`` only
        then.
    overwrite: replace a trace that is at ``path`` already.
    nvtx: mark ranges for an attached tool; auto looks for one that announced itself.
    capture_range: the name of a span or range to which a profiler limits itself that
        waits for the program to begin (``nsys profile --capture-range=cudaProfilerApi``):
        it collects while such a range is open.  Without such a profiler it does nothing.
    vram: look at device memory; if False, not even for spans that ask for it.
    children: processes started from here record into the same trace.
    clock: auto uses the CPU's counter where it is steady.
    ring_bytes: size of the ring; it grows where many threads record at once.

    Handlers of signals and exceptions that are there already run after ours, and are
    back when the recording ends; with a signal it must be started in the main thread.

    Where the command ``gpu-narration run`` or ``GPU_NARRATION_FILE`` has begun a
    recording already, that one is returned.

    Raises :class:`AlreadyRecordingError`, :class:`TraceExistsError`,
    :class:`TracePathError`, :class:`FilterError`, :class:`OptionError`,
    :class:`UnknownBackendError`, :class:`BackendUnavailableError`.
    """
    from gpu_narration._options import check
    from gpu_narration.recording import Recording

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
            voice=voice,
            backend=backend,
            on_full=on_full,
            mode=mode,
            dump_on_exception=dump_on_exception,
            dump_signal=dump_signal,
            control=control,
            control_signal=control_signal,
            nvtx=nvtx,
            capture_range=capture_range,
            clock=clock,
            vram=vram,
            children=children,
            ring_bytes=ring_bytes,
        )
        recording = Recording(options)
        recorder = _begin(_directory(path, overwrite=overwrite), recording, by_user=True)
        _install_hooks(recording)
        return recorder


def stop() -> None:
    """Ends the recording, if one runs; everything recorded is on disk afterwards.

    A recording begun by ``gpu-narration run`` or the environment goes on until
    the process ends.
    """
    with _lock:
        if _active is not None and _active._by_user:
            _end(_active)


def flush(timeout_s: float = 10.0) -> bool:
    """Waits until everything recorded so far is in the trace's files; whether it is.

    The events of a flight recorder stay in its ring: see :func:`dump`.
    """
    from gpu_narration._options import milliseconds

    return _core.flush(milliseconds("timeout_s", timeout_s))


def dump(reason: str = "", timeout_s: float = 10.0) -> bool:
    """Writes what the ring of a flight recorder holds into the trace; see :meth:`Recorder.dump`.

    False if nothing records.
    """
    active = _active  # not under the lock: a signal handler may come by here
    return active is not None and active._recording.dump(reason, timeout_s)


def stats() -> dict[str, int] | None:
    """Counts of the recording that runs, or None; see :meth:`Recorder.stats`."""
    return _core.stats()


def active() -> Recorder | None:
    """The recording that runs; one that the environment asks for begins now."""
    if _active is None and (_forked_from is not None or os.environ.get(PATH_VARIABLE)):
        _autostart()
    return _active


def set_filter(text: str) -> None:
    """Changes the filter of the recording that runs, for all threads at once.

    Raises :class:`FilterError`; the old filter then stays.  Where nothing records
    it only checks the text.
    """
    from gpu_narration import filters

    parsed = filters.parse(text)
    active = _active
    if active is not None:
        active._recording.set_filter(parsed)


# ---- beginning and ending ----


def _directory(path: str | os.PathLike[str] | None, *, overwrite: bool) -> TraceDirectory:
    from gpu_narration import tracedir

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


def _begin(directory: TraceDirectory, recording: Recording, *, by_user: bool) -> Recorder:
    global _active  # noqa: PLW0603 - one recording a process
    from gpu_narration import endings

    recording.begin(directory)
    _active = Recorder(directory, recording, by_user=by_user)
    endings.with_multiprocessing(_at_exit)
    return _active


def _install_hooks(recording: Recording) -> None:
    """What calls us from now on; a forked child inherits it, so it asks what is active then."""
    options = recording.options
    if options.mode == "flight" and options.dump_on_exception:
        from gpu_narration.flight import ExceptionHook

        recording.hooks.append(ExceptionHook(dump))
    if options.dump_signal is None and options.control_signal is None:
        return
    from gpu_narration.signals import SignalHook, name_of

    if options.dump_signal is not None:
        reason = name_of(options.dump_signal)
        recording.hooks.append(SignalHook(options.dump_signal, lambda: dump(reason)))
    if options.control_signal is not None:
        recording.hooks.append(SignalHook(options.control_signal, _look_for_requests))


def _look_for_requests() -> None:
    active = _active
    if active is not None:
        active._recording.look_for_requests()


def _end(recorder: Recorder) -> None:
    global _active  # noqa: PLW0603 - one recording a process
    try:
        error, recorder._final_stats = recorder._recording.end()
    finally:  # also when a Ctrl-C does not wait
        _active = None
    if not recorder.path.is_dir():
        say(
            f"{recorder.path} was removed, or moved away, while it was written; "
            "what was removed is lost [trace-gone]"
        )
    elif error:
        say(
            f"the last events could not be written: {os.strerror(error)}; they are in the ring "
            f"file, and 'gpu-narration show {recorder.path}' reads them [ring-kept]"
        )
    recorder._recording.finish_console()
    for call in recorder._at_end:
        call(recorder.stats())


def _at_exit() -> None:
    with _lock:
        if _active is not None and _active._pid == os.getpid():
            _end(_active)


# ---- what happens by itself ----


def start_for_command(
    path: str | os.PathLike[str], *, overwrite: bool, console: bool | str | None, **options: object
) -> Recorder:
    """What ``gpu-narration run`` and tests do; the program cannot stop this recording."""
    recorder = start(path, overwrite=overwrite, console=console, **options)  # type: ignore[arg-type]
    recorder._by_user = False
    return recorder


def stop_for_command(recorder: Recorder) -> None:
    """Ends what :func:`start_for_command` has begun."""
    with _lock:
        if _active is recorder:
            _end(recorder)


def _autostart() -> None:
    """At the first event: the environment may ask for a recording, or we are a fork's child."""
    with _lock:
        try:
            if _forked_from is not None:
                _begin_in_child(_forked_from)
            elif os.environ.get(PATH_VARIABLE) and _active is None:
                from gpu_narration._options import from_parent

                start(**from_parent())._by_user = False
        except GpuNarrationError as error:
            say(f"nothing is recorded: {error}")


def _begin_in_child(parent: Recorder) -> None:
    from dataclasses import replace

    from gpu_narration.recording import Recording

    before = parent._recording
    recording = Recording(
        replace(before.options, console=None, filter=before.filter.text), eager=False
    )
    recording.hooks = before.hooks
    _begin(parent._directory, recording, by_user=parent._by_user)


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
