"""Every public call beside what it is compared with: the loops that all benchmarks run.

A *block* makes one call again and again with the same arguments, whichever callable it
is given, so that ours and its rulers differ in nothing else.  Its *bare* twin is the
loop without the call; what a call costs is the difference.
"""

from __future__ import annotations

import contextlib
import ctypes
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any, Self

import gpu_narration
from gpu_narration import _core, ffi

#: Calls of one block at most: the dynamic strings are made before, one for each call.
BLOCK = 20_000

#: Distinct objects, as a program makes them; making them is not measured.
STRINGS = [f"piece {i:>14}" for i in range(BLOCK)]
assert {len(string) for string in STRINGS} == {20}


@dataclass(frozen=True, slots=True)
class Block:
    """`run(call, count)` makes `count` calls; `bare(count)` is the same loop without them."""

    run: Callable[[Any, int], None]
    bare: Callable[[int], None]

    def copy(self) -> Block:
        """The same loops in code objects of their own.

        The interpreter specialises a call instruction for what it calls.  In a program
        one instruction calls one thing; a loop that is given a different callable each
        time would measure how the interpreter changes its mind.
        """
        return Block(_copy(self.run), _copy(self.bare))


@dataclass(frozen=True, slots=True)
class Ruler:
    """What a call is compared with: its name, a loop of its own, and what the loop calls."""

    name: str
    block: Block
    call: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "block", self.block.copy())


@dataclass(frozen=True, slots=True)
class Case:
    """A call of ours, a loop of its own and its rulers, the first of which is *the* ruler."""

    name: str
    block: Block
    call: Any
    rulers: tuple[Ruler, ...]
    #: What must be in force round the calls.
    inside: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext

    def __post_init__(self) -> None:
        object.__setattr__(self, "block", self.block.copy())


def _copy(loop: Callable[..., None]) -> Callable[..., None]:
    assert isinstance(loop, FunctionType)
    code = loop.__code__.replace()
    return FunctionType(code, loop.__globals__, loop.__name__, closure=loop.__closure__)


# ---- loops ----


def bare(count: int) -> None:
    for _ in range(count):
        pass


def bare_strings(count: int) -> None:
    for i in range(count):
        STRINGS[i]


def run_tiny(call: Any, count: int) -> None:
    for i in range(count):
        call("tokenizer", "decode", "token_{}", "Decoding token {} of {}", i, 100)


def run_no_values(call: Any, count: int) -> None:
    for _ in range(count):
        call("tokenizer", "decode", "tokens", "Decoding tokens")


def run_string(call: Any, count: int) -> None:
    for i in range(count):
        call("tokenizer", "decode", "piece", "Decoded {}", STRINGS[i])


def run_new_name(call: Any, count: int) -> None:
    """The string must be new to the call: one that something else refers to may be a constant."""
    for i in range(count):
        call("tokenizer", "decode", f"piece {i} of many", "Decoded a piece")


def bare_new_name(count: int) -> None:
    for i in range(count):
        f"piece {i} of many"


def run_with_correlation(call: Any, count: int) -> None:
    for i in range(count):
        call("worker", "accept", "job_{}", "Accepted job {} of {}", "req-7", i, 100)


def run_enter(call: Any, count: int) -> None:
    for i in range(count):
        call("worker", "dispatch", "job={}, pool={}", i, 100)


def run_exit(call: Any, count: int) -> None:
    for i in range(count):
        call("worker", "dispatch", "{} in {} ms", i, 100)


def run_loop(call: Any, count: int) -> None:
    for i in range(count):
        call("worker", "select", i, 100, "load={}", 5)


def run_state(call: Any, count: int) -> None:
    for i in range(count):
        call("worker", "queue_depth", "{} to {}", "Queue depth changed", i, 100)


def run_narrate(call: Any, count: int) -> None:
    for i in range(count):
        call("worker", "accept", "job-123", "Accepted the request", position=i, eta_ms=420)


def run_block(block: Any, count: int) -> None:
    for _ in range(count):
        with block:
            pass


def run_new_block(make: Any, count: int) -> None:
    for _ in range(count):
        with make("engine", "prefill"):
            pass


def run_two_names(call: Any, count: int) -> None:
    for _ in range(count):
        call("engine", "prefill")


def run_two_arguments(function: Any, count: int) -> None:
    for i in range(count):
        function(i, 100)


def run_one_argument(function: Any, count: int) -> None:
    for i in range(count):
        function(i)


TINY = Block(run_tiny, bare)
NO_VALUES = Block(run_no_values, bare)
STRING = Block(run_string, bare_strings)
NEW_NAME = Block(run_new_name, bare_new_name)
TWO_ARGUMENTS = Block(run_two_arguments, bare)
ONE_ARGUMENT = Block(run_one_argument, bare)
WITH = Block(run_block, bare)


# ---- rulers ----


def empty_python(*_args: object, **_fields: object) -> None:
    """A Python function of any arguments that does nothing."""


class EmptyBlock:
    """A class whose ``with`` does nothing."""

    __slots__ = ()

    def __init__(self, *names: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


def pick(pool: int, slot: int) -> int:  # noqa: ARG001 - the function to trace has two arguments
    return slot


traced_pick = gpu_narration.trace_fn(pick)


def _abs() -> Any:
    """A C function that does next to nothing, through a library object of its own."""
    function = ctypes.CDLL(None).abs
    function.argtypes = (ctypes.c_int,)
    return function


plain_abs = _abs()
# The actor is this module, so that what filters it filters the calls.
traced_abs = ffi.trace_function(_abs(), actor=__name__)


def _calls(name: str, block: Block, call: Any, **more: Any) -> Case:
    """A call whose rulers take the same arguments and do nothing."""
    rulers = (
        Ruler("empty C call", block, _core.nothing),
        Ruler("empty Python call", block, empty_python),
    )
    return Case(name, block, call, rulers, **more)


@contextlib.contextmanager
def of_a_request() -> Iterator[None]:
    with gpu_narration.correlation("req-7"):
        yield


CASES = (
    _calls("trace_tiny", TINY, gpu_narration.trace_tiny),
    _calls("trace_tiny, string", STRING, gpu_narration.trace_tiny),
    _calls("trace_tiny, new name", NEW_NAME, gpu_narration.trace_tiny),
    _calls("trace_tiny, correlated", TINY, gpu_narration.trace_tiny, inside=of_a_request),
    _calls(
        "trace_with_correlation",
        Block(run_with_correlation, bare),
        gpu_narration.trace_with_correlation,
    ),
    _calls("trace_enter", Block(run_enter, bare), gpu_narration.trace_enter),
    _calls("trace_exit", Block(run_exit, bare), gpu_narration.trace_exit),
    _calls("trace_loop", Block(run_loop, bare), gpu_narration.trace_loop),
    _calls("trace_state", Block(run_state, bare), gpu_narration.trace_state),
    Case(
        "span, reused",
        WITH,
        gpu_narration.span("engine", "prefill"),
        (
            Ruler("empty C call", Block(run_two_names, bare), _core.nothing),
            Ruler("empty Python with", WITH, EmptyBlock()),
        ),
    ),
    Case(
        "span, fresh",
        Block(run_new_block, bare),
        gpu_narration.span,
        (
            Ruler("empty C call", Block(run_two_names, bare), _core.nothing),
            Ruler("empty Python with", Block(run_new_block, bare), EmptyBlock),
        ),
    ),
    Case(
        "trace_fn",
        TWO_ARGUMENTS,
        traced_pick,
        (
            Ruler("plain function", TWO_ARGUMENTS, pick),
            Ruler("empty C call", TWO_ARGUMENTS, _core.nothing),
        ),
    ),
    Case(
        "ffi, ctypes", ONE_ARGUMENT, traced_abs, (Ruler("plain ctypes", ONE_ARGUMENT, plain_abs),)
    ),
    _calls("narrate", Block(run_narrate, bare), gpu_narration.narrate),
)

# ---- states ----

NOT_STARTED, OFF, RECORDING, TOOL = "not started", "filtered off", "recording", "with an NVTX tool"
STATES = (NOT_STARTED, OFF, RECORDING, TOOL)

#: Calls enough for call sites, caches and the interpreter's specialisation.
WARM_UP = 500


@dataclass
class States:
    """Brings the recorder into a state; recordings lie below `directory` while they run."""

    directory: Path
    #: What all recordings together had to wait for the drain, and lost.
    waits: int = field(default=0, init=False)
    dropped: int = field(default=0, init=False)
    #: What the last one left in its trace directory.
    disk_bytes: int = field(default=0, init=False)

    @contextlib.contextmanager
    def state(self, state: str, **options: Any) -> Iterator[gpu_narration.Recorder | None]:
        """In force inside; nothing records before and after."""
        if state == NOT_STARTED:
            yield None
            return
        chosen: dict[str, Any] = {
            "filter": f"{__name__}=off" if state == OFF else "",
            "backend": "none",
            "vram": False,
            "nvtx": "on" if state == TOOL else "off",
            "children": False,
            "console": False,
            **options,
        }
        with tempfile.TemporaryDirectory(dir=self.directory) as place:
            with gpu_narration.start(f"{place}/bench", **chosen) as recorder:
                yield recorder
            stats = recorder.stats()
            self.waits += stats["waits"]
            self.dropped += stats["dropped"]
            self.disk_bytes = sum(file.stat().st_size for file in recorder.path.iterdir())


@contextlib.contextmanager
def filtered_off() -> Iterator[None]:
    """The calls of this module are filtered off inside, in a recording that runs."""
    gpu_narration.set_filter(f"{__name__}=off")
    try:
        yield
    finally:
        gpu_narration.set_filter("")
