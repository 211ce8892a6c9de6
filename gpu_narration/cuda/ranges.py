"""``cuda.range()``, and NVTX ranges and marks through the ``nvtx`` package.

One domain, a category per kind of event, registered strings for names that do
not change, and our event id as an int64 payload, so that a report of Nsight
Systems joins exactly with a trace of ours.  Nothing is imported and nothing is
called unless a tool is attached.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from gpu_narration._core import Span, span
from gpu_narration._errors import say
from gpu_narration._types import Kind
from gpu_narration.cuda.capture_range import CaptureRange, Profiler

F = TypeVar("F", bound=Callable[..., Any])

DOMAIN = "gpu_narration"

#: Set by Nsight tools in the processes they launch.
ATTACHED_VARIABLES = ("NVTX_INJECTION64_PATH", "NVTX_INJECTION32_PATH")

_CATEGORIES = {
    Kind.SPAN: "span",
    Kind.FUNCTION: "function",
    Kind.FOREIGN: "ffi",
    Kind.LAUNCH: "launch",
    Kind.NARRATION: "narration",
    Kind.VRAM: "vram",
}


def tool_announced() -> bool:
    """Whether a tool has put its injection library into our environment."""
    return any(os.environ.get(variable) for variable in ATTACHED_VARIABLES)


class Bridge:
    """What the core calls; every attribute is a bound method, of the NVTX domain or of
    what limits a profiler to one range.
    """

    def __init__(self, domain: Any, capture: CaptureRange | None = None) -> None:
        self.domain = domain
        self._capture = capture
        ranges = domain if capture is None else capture
        self.mark: Callable[[Any], object] = domain.mark
        self.push_range: Callable[[Any], object] = ranges.push_range
        self.pop_range: Callable[[], object] = ranges.pop_range
        self.start_range: Callable[[Any], object] = ranges.start_range
        self.end_range: Callable[[Any], object] = ranges.end_range

    def attributes(
        self, kind: int, actor: str | None, action: str | None, target: str | None
    ) -> Any:
        """Event attributes of a call site; the core sets their payload at each use.

        A name that changes from call to call is not used: registered strings are
        never freed.
        """
        named = target if kind in (Kind.ENTER, Kind.EXIT, Kind.LAUNCH, Kind.STATE) else action
        message = named or action or actor or Kind(kind).name.lower()
        attributes = self.domain.get_event_attributes(
            message=message, category=_CATEGORIES.get(Kind(kind), "event"), payload=0
        )
        if self._capture is not None and message == self._capture.name:
            self._capture.adopt(attributes)
        return attributes


def attach(
    mode: Literal["auto", "on", "off"] = "auto", capture_range: str | None = None
) -> Bridge | None:
    """The bridge to an attached tool, or None if there is none.

    ``auto`` looks only where a tool has announced itself in the environment;
    ``on`` asks NVTX in any case.  ``capture_range`` is as for
    :func:`gpu_narration.start`; without a driver there is nothing to limit.
    """
    if mode == "off" or (mode == "auto" and not tool_announced()):
        return None
    import nvtx

    domain = nvtx.get_domain(DOMAIN)
    if not hasattr(domain, "handle"):
        return None  # nvtx gives its dummy domain where no tool listens
    return Bridge(domain, _limited_to(capture_range, domain))


def _limited_to(name: str | None, domain: Any) -> CaptureRange | None:
    if name is None:
        return None
    try:
        return CaptureRange(name, domain, Profiler())
    except (OSError, AttributeError) as error:
        say(f"capture_range={name!r} limits nothing: {error} [no-capture]")
        return None


#: Names of ranges that were made at run time and may still become names for NVTX,
#: which never forgets one.
_NAMES_MAX = 1024
_names: set[str] = set()


class Range:
    """A named stretch of work on a stream; made by :func:`range`."""

    # Members of these names make ``with`` call the span's own methods, from the
    # program's frame: the span sees the program's module, and whether its block can
    # be suspended.
    __slots__ = ("__enter__", "__exit__", "_actor", "_name", "_stream")

    if TYPE_CHECKING:

        def __enter__(self) -> Span: ...
        def __exit__(self, *exc_info: object) -> Literal[False]: ...

    def __init__(self, name: str, stream: object, actor: str) -> None:
        self._name, self._stream, self._actor = name, stream, actor
        entered = self._span()
        object.__setattr__(self, "__enter__", entered.__enter__)
        object.__setattr__(self, "__exit__", entered.__exit__)

    def _span(self) -> Span:
        return span(self._actor, self._name, gpu=True, stream=self._stream)

    def __call__(self, function: F) -> F:
        """As a decorator: each call is a range, of a coroutine or generator its whole run."""
        if isinstance(function, staticmethod):
            return cast("F", staticmethod(self(function.__func__)))
        refused = inspect.isasyncgenfunction(function) or isinstance(function, type)
        if refused or not callable(function):
            raise TypeError(
                f"cuda.range() does not decorate {type(function).__name__} {function!r}; "
                "write 'with cuda.range(...)' inside it"
            )
        traced: F = functools.update_wrapper(_decorated(function, self._span), function)  # type: ignore[assignment]
        return traced


def range(name: str, *, stream: object = None, actor: str = "cuda") -> Range:  # noqa: A001
    """A range of GPU work: ``with cuda.range("prefill", stream=s):``, or a decorator.

    It is a span with a GPU time, as ``span(actor, name, gpu=True, stream=stream)``,
    and for an attached tool an NVTX range of exactly this name in the domain
    ``gpu_narration``, pushed and popped, by which Nsight Compute selects kernels:
    ``ncu --nvtx --nvtx-include "gpu_narration@prefill/"``.  In coroutines and
    generators, whose ranges need not nest, it is an NVTX start/end range.

    NVTX keeps names for ever: of names made at run time (``f"layer {i}"``) the first
    1,024 are used, later ones appear as the actor.

    ``stream`` defaults to the current stream.  Raises TypeError if ``name`` or
    ``actor`` is no str.
    """
    for given in (name, actor):
        if not isinstance(given, str):
            raise TypeError(
                f"cuda.range() needs a str as its name and its actor, not {type(given).__name__}"
            )
    return Range(_lasting(str(name)), stream, str(actor))


def _lasting(name: str) -> str:
    """The name as a constant, as long as there is room for more of them."""
    if name in _names or len(_names) < _NAMES_MAX:
        name = sys.intern(name)
        _names.add(name)
    return name


def _decorated(function: Callable[..., Any], new_span: Callable[[], Span]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with new_span():
                return await function(*args, **kwargs)

        return awaited
    if inspect.isgeneratorfunction(function):

        def generated(*args: Any, **kwargs: Any) -> Any:
            with new_span():
                return (yield from function(*args, **kwargs))

        return generated

    def called(*args: Any, **kwargs: Any) -> Any:
        with new_span():
            return function(*args, **kwargs)

    return called
