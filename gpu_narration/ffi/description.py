"""What a preset tells of a foreign function: the contract between presets and the tracing.

A preset is a mapping of name patterns to :class:`Function`, or a callable that gives one
for a name; ``trace_library(lib, describe=preset)``.  It is asked once a function, not
once a call.  What a description leaves out costs nothing in a call: a function without
hooks is recorded in C alone.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpu_narration.ffi import checks

#: What one argument is shown as, given the argument; a plain value (int, float, str,
#: bytes, bool, None, :class:`Address`).  It may follow a pointer: it knows that it may.
Formatter = Callable[[Any], object]
#: Formatters of arguments.  By name: the names are those of the parameters, in order, and
#: None records by type.  By number: of the arguments with these positions.  A sequence: of
#: the leading arguments.
Formatters = (
    Mapping[str, Formatter | None] | Mapping[int, Formatter | None] | Sequence[Formatter | None]
)
#: The result means failure: which codes, and what each of them means; or what a result
#: means, None where it is no failure.  A pair is (name, meaning): ``("CUDA_ERROR_…", "…")``.
Meaning = str | tuple[str, str]
Failure = Mapping[int, Meaning] | Callable[[Any], Meaning | None]
#: Fields that a hook adds to a record, by name.
Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Read:
    """A 32-bit integer in a structure that is an argument: a field of the record.

    offset: bytes from the structure's beginning, as ctypes tells it.
    through: a pointer stands there, to as many numbers as the first one read says; the
        first of them is read.  None where the pointer is NULL or there are no numbers.
    """

    name: str
    offset: int
    through: bool = False


@dataclass(frozen=True, slots=True)
class Reads:
    """Numbers that are read in C, in front of the call, where a hook would cost too much.

    kind: the structure's type; an argument of another type is not looked into.
    argument: its position.
    usual: where the first number is this one and the others are known and not 0, the call
        is recorded with the numbers alone, and ``before`` is not asked.
    field: name and text of a field that such a call has besides.
    """

    kind: type
    argument: int
    numbers: tuple[Read, ...]
    usual: int
    field: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """How the calls of one function are recorded.  All of it may be left out.

    actor, action: whose calls they are and what they are called; default the library's
        actor and the function's name.
    arguments: see :data:`Formatters`.  Without one an argument is recorded by its type
        and no pointer is followed.
    failure: what results mean failure, see :data:`Failure`.  The span ends as an error
        with that name and text; a code without a name is ``status 1``, a NULL is ``NULL``.
    before: ``before(args)``, in front of the call, with the tuple of arguments; what it
        gives stands in the span's first record, which outlives a crash in the call.
    after: ``after(args, result, elapsed_ns, begun, span_id)``, behind a call that came
        back; what it gives stands in the span's last record.  ``begun`` is what ``before``
        gave (any object; only a mapping is recorded), ``span_id`` the span's event id, to
        annotate it later.  Not called when the call raised.
    pace_ns: ``after`` is asked at most once in so long; 0: at each call.
    reads: numbers out of a structure, see :class:`Reads`.
    gpu, vram: as of :func:`span`, for this function; None: as the library's.
    own_streams: whether the call puts GPU work on streams of the library's own; None: as
        the library's.
    may_lack_memory: a failure, or NULL, may mean that device memory ran out; the trace
        then tells what memory there was and which scopes took it.

    The hooks, formatters and ``failure`` run in the calling thread under the GIL, and
    calls of traced functions inside of them are not recorded.  What they raise is counted
    and shown once, and the call goes on without them.
    """

    actor: str | None = None
    action: str | None = None
    arguments: Formatters | None = None
    failure: Failure | None = None
    before: Callable[[tuple[Any, ...]], object] | None = None
    after: Callable[[tuple[Any, ...], Any, int, Any, int], Fields | None] | None = None
    pace_ns: int = 0
    reads: Reads | None = None
    gpu: bool | None = None
    vram: bool | None = None
    own_streams: bool | None = None
    may_lack_memory: bool = False


#: Patterns of names, the first that fits counts; or a callable that knows names, and
#: gives None for a function of which there is nothing to tell.
Preset = Mapping[str, Function] | Callable[[str], Function | None]
#: A choice of functions: all or none, or patterns of names.
Choice = bool | str | Iterable[str]


def described(preset: Preset | None, name: str) -> Function | None:
    """What a preset tells of a function.  Raises OptionError for what is no description."""
    if preset is None:
        return None
    if callable(preset):
        function = preset(name)
        if function is not None:
            checks.function(function, f"what describe gives for {name}")
        return function
    for pattern, function in preset.items():
        if fnmatch.fnmatchcase(name, pattern):
            return function
    return None


def with_formatters(function: Function | None, formatters: Formatters | None) -> Function | None:
    """The description with the formatters that ``args=`` gives, which come first."""
    if formatters is None:
        return function
    return replace(function or Function(), arguments=formatters)


def chosen(choice: Choice, name: str) -> bool:
    """Whether a choice names a function."""
    if isinstance(choice, bool):
        return choice
    return matches(name, patterns(choice))


def patterns(given: str | Iterable[str]) -> tuple[str, ...]:
    """One pattern may stand alone; its letters are no patterns."""
    return (given,) if isinstance(given, str) else tuple(given)


def matches(name: str, given: tuple[str, ...]) -> bool:
    """Whether a name fits one of the patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in given)
