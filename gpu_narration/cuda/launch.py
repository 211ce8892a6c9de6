"""The event of a launch: its name and shape, its stream, and its GPU time where asked for.

What the kernel is and how it is called is the business of ``conventions.py``;
here is what all launches share.  A launch that is not timed is one record, with
the reason in it; only a timed one costs a pair of events and a later answer.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, SupportsIndex, TypeGuard, TypeVar

from gpu_narration._core import emit
from gpu_narration._errors import OptionError, internal_error
from gpu_narration._types import Kind, Level
from gpu_narration.cuda import graphs, reasons
from gpu_narration.cuda import session as sessions
from gpu_narration.cuda.backend import Backend, CaptureStatus, CudaError, Stream
from gpu_narration.cuda.intervals import Interval
from gpu_narration.cuda.session import Session

R = TypeVar("R")

ACTOR = "cuda"

#: What a failure of ours is counted under.
WHERE = "recording of a launch"

#: The shape of a launch as fields, and the stream it was given.
Told = tuple[dict[str, object], object]

_PLAIN = (str, int, float, bytes, type(None))


class Convention:
    """How the kernels of one library are launched; stateless, one object a library."""

    action = "launch"
    #: Whether :meth:`learned` has anything to say.
    learns = False
    #: Whether a library launches on a real GPU; no stream of it is one of the simulator's.
    real = False

    def describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Told:
        """What a call with these arguments tells: its shape, and the stream it was given."""
        del args
        shared = kwargs.get("shared_mem", kwargs.get("shared"))
        fields = shape_fields(kwargs.get("grid"), kwargs.get("block"), shared)
        return fields, kwargs.get("stream")

    def stream(self, given: object) -> object:
        """What a backend can tell the stream of a launch by; ``given`` was passed to it.

        May raise anything: then the stream is unknown.
        """
        return given

    def prepare(self, kernel: Any) -> None:
        """Compiles, where that can be done before the launch: its time is no GPU time."""

    def variants(self, kernel: Any) -> int:
        """How often the kernel was compiled; growth tells that a launch compiled it."""
        del kernel
        return 0

    def learned(self, result: Any) -> dict[str, object]:
        """What the result of a launch tells of its shape."""
        del result
        return {}


@dataclass(slots=True)
class _Due:
    """A launch whose event is written; of its shape, ``known`` fields are in it."""

    session: Session
    event_id: int
    stream: object
    timed: bool
    shape: dict[str, object]
    known: int

    def launch(
        self,
        how: Convention,
        kernel: Any,
        call: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> R:
        interval, variants = None, None
        try:
            if self.timed:
                how.prepare(kernel)
                variants = _contained(how.variants, kernel)
                interval = _contained(self._open, how)
            result = call(*args, **kwargs)
        except BaseException as error:
            _contained(self._failed, interval, error)
            raise
        if interval is not None:
            compiled = _contained(how.variants, kernel) != variants
            _contained(self._close, interval, compiled)
        if how.learns or len(self.shape) != self.known:
            _contained(self._learned, how, result)
        return result

    def _open(self, how: Convention) -> Interval | None:
        session, event_id, stream = self.session, self.event_id, self.stream
        backend = session.backend
        if backend is not None:
            stream = _resolved(backend, how, stream)
        if stream is _UNKNOWN:
            fields: dict[str, object] = {"gpu_ns": None, "gpu_reason": reasons.UNKNOWN_STREAM}
            session.annotate(event_id, {**fields, **_simulated(session)})
            return None
        interval = session.open_interval(event_id, stream)
        if interval is None and backend is not None and _captures(stream, backend):
            # Refused for it: the graph is to name what this belonged to.
            session.capture_seen(stream, event_id, graphs.scope_round(event_id))
        return interval

    def _close(self, interval: Interval, compiled: bool) -> None:
        if compiled:
            self.session.cancel_interval(interval, reasons.COMPILED)
        else:
            self.session.close_interval(interval)

    def _learned(self, how: Convention, result: object) -> None:
        """Adds to the event what came late."""
        late = how.learned(result)
        late.update(itertools.islice(self.shape.items(), self.known, None))
        if late:
            self.session.annotate(self.event_id, late)

    def _failed(self, interval: Interval | None, error: BaseException) -> None:
        fields: dict[str, object] = {"error": error_text(error), **_simulated(self.session)}
        if interval is not None:
            self.session.cancel_interval(interval, reasons.LAUNCH_FAILED)
        else:
            fields.update(gpu_ns=None, gpu_reason=reasons.LAUNCH_FAILED)
        self.session.annotate(self.event_id, fields)


class Launches:
    """The launches of one kernel: their name, and how many of them are timed.

    ``every`` times one recorded launch in so many by a pair of events, the first
    among them; 0 times none.  Half of real kernels last no more than the pair
    costs, so hot loops want a sample.
    """

    __slots__ = ("_numbers", "every", "fields", "name", "reason")

    def __init__(self, name: str, every: int, fields: Mapping[str, object] | None = None) -> None:
        self.name = sys.intern(name)  # then it is known for a constant at the first launch
        self.every = checked(every)
        #: Of every launch, beside its shape.
        self.fields = dict(fields or {})
        self.reason = reasons.sampled(every)
        self._numbers = itertools.count()

    def record(
        self,
        how: Convention,
        kernel: Any,
        call: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        told: Told | None = None,
    ) -> R:
        """``call(*args, **kwargs)``, which launches ``kernel``, and its event.

        Returns and raises what the call does.  ``told`` is what the arguments cannot
        tell; its fields may still grow while the call runs, and what came late is
        added to the event.
        """
        session = sessions.current()
        if session is None:
            return self._first(how, kernel, call, args, kwargs, told)
        try:
            shape, stream = told or how.describe(args, kwargs)
            known = len(shape)
            fields = {**shape, **self.fields}
            timed = self.every > 0 and next(self._numbers) % self.every == 0
            if not timed:
                capturing = self._answer(session, how, stream, fields)
            elif session.simulated:
                fields["simulated"] = True
            event_id = emit(
                Kind.LAUNCH, Level.TRACE, __name__, ACTOR, how.action, self.name, "", fields
            )
            if not timed and capturing is not None and event_id is not None:
                session.capture_seen(capturing, event_id, graphs.scope_round(event_id))
        except Exception as error:  # noqa: BLE001 - ours, not the program's
            internal_error(WHERE, error)
            event_id = None
        if event_id is None:
            return call(*args, **kwargs)
        due = _Due(session, event_id, stream, timed, shape, known)
        return due.launch(how, kernel, call, args, kwargs)

    def _first(
        self,
        how: Convention,
        kernel: Any,
        call: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        told: Told | None,
    ) -> R:
        """A launch while nothing records; by the environment, an event may begin a recording."""
        event_id = emit(
            Kind.LAUNCH, Level.TRACE, __name__, ACTOR, how.action, self.name, "", self.fields
        )
        session = sessions.current()
        if event_id is None or session is None:
            return call(*args, **kwargs)
        shape, stream = told or how.describe(args, kwargs)
        timed = self.every > 0 and next(self._numbers) % self.every == 0
        if not timed:
            fields: dict[str, object] = {}
            _contained(self._answer, session, how, stream, fields)
            session.annotate(event_id, fields)
        return _Due(session, event_id, stream, timed, shape, 0).launch(
            how, kernel, call, args, kwargs
        )

    def _answer(
        self, session: Session, how: Convention, given: object, fields: dict[str, object]
    ) -> Stream | None:
        """Says of a launch that is not timed why, and on which stream it is.

        Returns the stream if it captures the launch.
        """
        fields["gpu_ns"] = None
        fields["gpu_reason"] = self.reason
        backend = session.backend
        if backend is None:
            fields["gpu_reason"] = reasons.no_gpu(session.no_backend)
            return None
        capturing = None
        target = _resolved(backend, how, given)
        if isinstance(target, Stream):
            session.saw_work(target)
            status = _capture_status(backend, target)
            if status in (CaptureStatus.ACTIVE, CaptureStatus.INVALIDATED):
                fields["gpu_reason"] = reasons.of_capture(status, inside=False)
            capturing = target if status is CaptureStatus.ACTIVE else None
            fields["stream"], fields["device"] = target.handle, target.device
        if backend.simulated:
            fields["simulated"] = True
        return capturing


def checked(every: object) -> int:
    """``every`` if it can be one; raises :class:`OptionError`."""
    if isinstance(every, int) and every >= 0:
        return int(every)
    raise OptionError(
        f"every={every!r} is no number of launches",
        meaning="one launch in so many is timed",
        next_step="give 0 to time none, 1 to time all, or a larger number for a sample",
    )


def error_text(error: BaseException) -> str:
    """An exception's type and text, without running the program's code for it."""
    name = type(error).__name__
    foreign = isinstance(getattr(type(error), "__str__", None), FunctionType)
    if foreign and not isinstance(error, CudaError):
        return name
    if not all(isinstance(argument, _PLAIN) for argument in error.args):
        return name
    return f"{name}: {error}"


def shape_fields(grid: object, block: object, shared_bytes: object) -> dict[str, object]:
    """The fields of a launch's shape; what is no number is left out."""
    fields: dict[str, object] = {}
    if grid is not None and (shown := shape_text(grid)) is not None:
        fields["grid"] = shown
    if block is not None and (shown := shape_text(block)) is not None:
        fields["block"] = shown
    if isinstance(shared_bytes, int):
        fields["shared_bytes"] = int(shared_bytes)
    return fields


def shape_text(sizes: object) -> int | str | None:
    """A launch dimension as people write it: 4096, or 64x64; None for what is no shape.

    Looks at plain numbers and NumPy's only: making a number of a tensor would wait
    for the GPU.
    """
    given = sizes if isinstance(sizes, (tuple, list)) else (sizes,)
    if len(given) == 1 and type(given[0]) is int:
        return given[0]
    shown = [int(size) for size in given if isinstance(size, int) or _is_numpy(size)]
    if len(shown) != len(given) or not shown:
        return None
    while len(shown) > 1 and shown[-1] == 1:
        shown.pop()
    return shown[0] if len(shown) == 1 else "x".join(map(str, shown))


def _is_numpy(size: object) -> TypeGuard[SupportsIndex]:
    return type(size).__module__ == "numpy" and hasattr(size, "__index__")


def _capture_status(backend: Backend, stream: Stream) -> CaptureStatus:
    try:
        return backend.capture_status(stream)
    except CudaError:
        return CaptureStatus.UNKNOWN


def _captures(stream: object, backend: Backend) -> TypeGuard[Stream]:
    if not isinstance(stream, Stream):
        return False
    return _capture_status(backend, stream) is CaptureStatus.ACTIVE


#: A stream that nothing can tell.
_UNKNOWN: Any = object()


def _resolved(backend: Backend, how: Convention, given: object) -> object:
    """The stream of a launch, as a :class:`Stream` where the backend knows it."""
    if backend.simulated and how.real:
        return _UNKNOWN
    try:
        found = how.stream(given)
    except Exception:  # noqa: BLE001 - a library that is asked may raise anything
        return _UNKNOWN
    try:
        return backend.stream_of(found)
    except (CudaError, TypeError):
        return found  # timing it gives the reason


def _simulated(session: Session) -> dict[str, object]:
    return {"simulated": True} if session.simulated else {}


def _contained(function: Callable[..., R], *args: Any) -> R | None:
    """Our own part of a launch: a failure of it must not become the program's."""
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001
        internal_error(WHERE, error)
        return None
