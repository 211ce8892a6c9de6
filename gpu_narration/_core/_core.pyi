"""What the C core offers to Python.  Each docstring names the file it lives in."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Literal, Self, TypeVar

_Text = TypeVar("_Text", str, bytes)

FORMAT_VERSION: Final[int]

correlation_variable: Final[ContextVar[str | None]]
"""Correlation id of the running context; set it with set_correlation.  boundary/strand.c"""
span_variable: Final[ContextVar[bytes]]
"""The current span where an event loop runs: struct published in boundary/strand.c"""

class Span:
    """A stretch of time with a name; a context manager.  boundary/scope.c"""

    @property
    def id(self) -> int | None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> Literal[False]: ...

class TracedFunction:
    """A function whose calls are spans.  boundary/function.c"""

    def __new__(
        cls,
        function: Callable[..., Any],
        module: str,
        actor: str,
        name: str,
        parameters: tuple[tuple[str, int], ...],
        defaults: tuple[object, ...],
        *,
        form: int = 0,
        skip: int = 0,
        flags: int = 0,
        mask_result: bool = False,
        like: TracedFunction | None = None,
    ) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

def trace_tiny(actor: str, action: str, target: str, human: str, *args: object) -> None:
    """boundary/calls.c"""

def trace_with_correlation(
    actor: str, action: str, target: str, human: str, correlation_id: str, *args: object
) -> None:
    """boundary/calls.c"""

def trace_enter(actor: str, function: str, args: str = "", *values: object) -> None:
    """boundary/calls.c"""

def trace_exit(actor: str, function: str, result: str = "", *values: object) -> None:
    """boundary/calls.c"""

def trace_loop(actor: str, action: str, index: int, total: int, detail: str, *args: object) -> None:
    """boundary/calls.c"""

def trace_state(actor: str, state_name: str, transition: str, human: str, *args: object) -> None:
    """boundary/calls.c"""

def span(
    actor: str,
    action: str,
    target: str = "",
    human: str = "",
    *,
    gpu: bool = False,
    vram: bool = False,
    stream: object = None,
) -> Span:
    """boundary/scope.c"""

def start(
    dir_fd: int,
    prefix: str,
    *,
    flight: bool = False,
    drop: bool = False,
    chunks: int = 128,
    counter_clock: bool = True,
) -> None:
    """Begins a recording into files `prefix.*` of an open directory.

    Raises OSError naming the file, RuntimeError while one is running.
    boundary/lifecycle.c
    """

def stop(more: dict[str, object] | None = None, /) -> tuple[int, dict[str, int]] | None:
    """Ends it, and notes that with the final counts and `more`; returns the errno of a
    failed last write, 0 when all is on disk, and the counts.  None if nothing ran.
    boundary/lifecycle.c
    """

def flush(timeout_ms: int = 10000, events: bool = False, /) -> bool:
    """Whether all recorded so far is on disk; a flight recorder's events only if
    `events` is true.  boundary/lifecycle.c
    """

def stats() -> dict[str, int] | None:
    """Counts of the running recording.  boundary/counts.c"""

def scopes() -> list[tuple[int, int, str | None, str | None, int, int, int]]:
    """Of the innermost open span of each thread: thread, event id, actor, action (None
    where only the id is known), tick of the thread's last event, number of the
    correlation, sequence number of the thread's next event.  boundary/lifecycle.c
    """

def after_fork() -> None:
    """In a forked child: lets go of the parent's files.  boundary/lifecycle.c"""

def emit(
    kind: int,
    level: int,
    module: str,
    actor: str,
    action: str,
    target: str,
    human: str,
    fields: dict[str, object] | None,
    span: int = 0,
    correlation: int = 0,
    /,
) -> int | None:
    """Records a full event; its event id.  With a span (and a correlation) of scopes()
    the event belongs to those instead of the caller's; give both or none.
    boundary/records.c
    """

def narrate(*args: Any, **fields: Any) -> int | None:
    """Typed in narration/calls.py, and its sisters.  boundary/narrate.c"""

def narrate_trace(*args: Any, **fields: Any) -> int | None: ...
def narrate_debug(*args: Any, **fields: Any) -> int | None: ...
def narrate_info(*args: Any, **fields: Any) -> int | None: ...
def narrate_warn(*args: Any, **fields: Any) -> int | None: ...
def narrate_error(*args: Any, **fields: Any) -> int | None: ...
def narrate_fatal(*args: Any, **fields: Any) -> int | None: ...
def narrate_from(
    module: str,
    location: str,
    level: int,
    actor: str,
    action: str,
    target: str,
    human: str,
    fields: dict[str, Any],
    /,
) -> int | None:
    """A narration from a place that is known.  boundary/narrate.c"""

def recording() -> bool:
    """Whether something records, or begins to now.  boundary/narrate.c"""

def summary(value: object, /) -> int | float | str | bytes | bool | None:
    """A value as a record has it: itself where it is plain.  Objects are told by their
    type alone where nothing has recorded yet.  boundary/narrate.c
    """

def annotate(event_id: int, fields: dict[str, object], /) -> bool:
    """Adds fields to an event that is written already.  boundary/records.c"""

def note(topic: str, fields: dict[str, object] | None, /) -> bool:
    """Records something about the recording itself.  boundary/records.c"""

class Address(int):
    """An int that a trace shows in hex.  boundary/values.c"""

class Foreign:
    """How the calls of one foreign function are recorded.  boundary/foreign_type.c"""

    def __new__(
        cls,
        actor: str,
        action: str,
        flags: int,
        addresses: int,
        names: tuple[tuple[str, int], ...],
        formatters: tuple[Callable[[Any], object] | None, ...] | None,
        before: Callable[..., object] | None,
        after: Callable[..., object] | None,
        failure: dict[int, Any] | Callable[[Any], Any] | None,
        get_errno: Callable[[], int] | None,
        pace_ns: int = 0,
        /,
    ) -> Self: ...

class ForeignFunction:
    """Stands for a callable, whose calls are spans.  boundary/foreign_proxy.c"""

    __wrapped__: Final[Any]
    def __new__(cls, function: Callable[..., Any], foreign: Foreign, /) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

def foreign_adopt(function_type: type, describe: Callable[[Any], Foreign | None]) -> None:
    """Calls of instances of this ctypes function type are spans.
    boundary/foreign_ctypes.c
    """

def foreign_forget(function_type: type) -> None:
    """boundary/foreign_ctypes.c"""

def foreign_take(function: object, foreign: Foreign, /) -> bool:
    """Calls of this function of a cffi library are spans; False if they are already.
    boundary/foreign_cffi.c
    """

def foreign_release(function: object, /) -> bool:
    """It is what it was; whether it was traced.  boundary/foreign_cffi.c"""

def foreign_reads(
    foreign: Foreign,
    kind: type,
    argument: int,
    items: tuple[tuple[str, int, bool], ...],
    usual: int,
    field: tuple[str, str] | None,
    /,
) -> None:
    """Numbers of a structure among the arguments become fields.  boundary/foreign_reads.c"""

def foreign_streams() -> int:
    """Calls so far of functions that put GPU work on streams of their library's own.
    boundary/foreign.c
    """

def set_correlation(value: str | None) -> None:
    """Sets the correlation id of the running context.  boundary/strand.c"""

def current_span() -> int:
    """Event id of the innermost open span here, 0 outside all.  boundary/strand.c"""

def publish_span(event_id: int, /) -> None:
    """What runs in the current context, a copy made for it, is in that span.
    boundary/strand.c
    """

def set_hooks(**hooks: Callable[..., Any] | None) -> None:
    """boundary/module.c; the hooks are struct hooks in boundary.h"""

def set_autostart(on: bool) -> None:
    """Whether the first event asks the autostart hook.  boundary/lifecycle.c"""

def set_nvtx(bridge: object | None) -> None:
    """Where ranges and marks go.  boundary/nvtx.c"""

def refilter() -> None:
    """Every call site asks the threshold hook again.  boundary/filtering.c"""

def clock_source() -> Literal["monotonic", "tsc", "cntvct"]:
    """What ticks are.  clock.c"""

def looks_like_credential(text: str) -> bool:
    """redact_keys.c"""

def redact(text: _Text, policy: int, /) -> _Text:
    """The text without the secrets that `enum gn_redact` names; the very same object if
    it holds none.  redact.c, boundary/redact.c
    """

def redact_field(name: str | None, value: object, /) -> object:
    """What may be recorded of a field, by the policy that is set.  boundary/redact.c"""

def redact_configure(
    policy: int, fields: dict[str, int] | None, patterns: Callable[[str], str] | None, /
) -> None:
    """Sets the policy: in general, of single fields (65536: hide the value), and what the
    program itself looks for.  boundary/redact.c
    """

def redactions() -> tuple[str, ...]:
    """What stands for a secret, by `enum gn_secret`.  boundary/redact.c"""

def parameter_rule(name: str) -> int:
    """`enum parameter_rule` of a parameter.  redact_names.c, boundary/redact.c"""

def nothing(*args: object, **kwargs: object) -> None:
    """Does nothing; the ruler of the benchmarks.  boundary/module.c"""
