"""From what a library's options and a preset tell of a function to what the core records by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gpu_narration import _core
from gpu_narration._errors import OptionError, internal_error
from gpu_narration.ffi import checks
from gpu_narration.ffi.description import (
    Choice,
    Formatter,
    Formatters,
    Function,
    Preset,
    chosen,
    described,
    matches,
    with_formatters,
)
from gpu_narration.redaction import parameter_rule

#: enum scope_flags in the core.
_GPU, _VRAM, _HANDLE, _STREAMS = 1, 2, 4, 8
#: FOREIGN_RESULT_BIT in the core.
RESULT_IS_ADDRESS = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What ``trace_library`` was asked for; two libraries' worth of it can be compared."""

    actor: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    gpu: Choice
    vram: Choice
    args: Mapping[str, Formatters] | None
    own_streams: bool
    describe: Preset | None

    def names(self, name: str) -> bool:
        """Whether the function of that name is to be traced."""
        return matches(name, self.include) and not matches(name, self.exclude)

    def differences(self, other: Options) -> list[str]:
        """The names of the options that differ."""
        return [
            field.name
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]


def options(
    *,
    actor: str,
    include: str | Iterable[str] = ("*",),
    exclude: str | Iterable[str] = (),
    gpu: Choice = False,
    vram: Choice = False,
    args: Mapping[str, Formatters] | None = None,
    own_streams: bool = False,
    describe: Preset | None = None,
) -> Options:
    """The options as they are kept.  Raises OptionError for what none of them can be."""
    checks.text(actor, "actor")
    checks.truth(own_streams, "own_streams")
    checks.formatters(args)
    checks.preset(describe)
    for function in describe.values() if isinstance(describe, Mapping) else ():
        split(function.arguments, "arguments of a description")
    for pattern, formatters in (args or {}).items():
        split(formatters, f"args[{pattern!r}]")
    return Options(
        actor=actor,
        include=checks.names(include, "include"),
        exclude=checks.names(exclude, "exclude"),
        gpu=gpu if isinstance(gpu, bool) else checks.names(gpu, "gpu"),
        vram=vram if isinstance(vram, bool) else checks.names(vram, "vram"),
        args=args,
        own_streams=own_streams,
        describe=describe,
    )


def recipe(
    name: str,
    given: Options,
    *,
    addresses: int = 0,
    nullable: bool = False,
    get_errno: Callable[[], int] | None = None,
) -> _core.Foreign | None:
    """How the core records a function; None where it is not to be traced.

    addresses: bit i says that an int as argument i is an address, the highest bit that
        the result is one.  nullable: the result is a pointer.
    """
    if not given.names(name):
        return None
    try:
        function = described(given.describe, name)
    except Exception as error:  # noqa: BLE001 - a preset's own; the call is recorded by types
        internal_error("description of a foreign function", error)
        function = None
    for pattern, formatters in (given.args or {}).items():
        if matches(name, (pattern,)):
            function = with_formatters(function, formatters)
            break
    function = function or Function()
    gpu = chosen(given.gpu, name) if function.gpu is None else function.gpu
    vram = chosen(given.vram, name) if function.vram is None else function.vram
    streams = given.own_streams if function.own_streams is None else function.own_streams
    handle = function.may_lack_memory and (nullable or function.failure is not None)
    flags = gpu * _GPU | vram * _VRAM | handle * _HANDLE | streams * _STREAMS
    return foreign(function, given.actor, name, flags, addresses, get_errno)


def foreign(
    function: Function,
    actor: str,
    name: str,
    flags: int,
    addresses: int,
    get_errno: Callable[[], int] | None,
) -> _core.Foreign:
    """The core's object of a description."""
    names, formatters = split(function.arguments, f"arguments of {name}")
    failure = function.failure
    made = _core.Foreign(
        function.actor or actor,
        function.action or name,
        flags,
        addresses,
        tuple((parameter, int(parameter_rule(parameter))) for parameter in names),
        formatters if any(formatter is not None for formatter in formatters) else None,
        function.before,
        function.after,
        dict(failure) if isinstance(failure, Mapping) else failure,
        get_errno,
        function.pace_ns,
    )
    reads = function.reads
    if reads is not None:
        numbers = tuple((read.name, read.offset, read.through) for read in reads.numbers)
        _core.foreign_reads(made, reads.kind, reads.argument, numbers, reads.usual, reads.field)
    return made


def split(
    formatters: Formatters | None, what: str
) -> tuple[tuple[str, ...], tuple[Formatter | None, ...]]:
    """Names of parameters, and formatters by position.  Raises OptionError for neither."""
    names: tuple[str, ...] = ()
    found: tuple[Any, ...] = ()
    if isinstance(formatters, Mapping):
        keys: list[Any] = list(formatters)
        if all(isinstance(key, str) for key in keys):
            names, found = tuple(keys), tuple(formatters.values())
        elif all(isinstance(key, int) and 0 <= key < 63 for key in keys):
            by_number: Any = formatters
            found = tuple(by_number.get(position) for position in range(max(keys) + 1))
        else:
            raise OptionError(
                f"{what} has keys that are neither all names nor all numbers of arguments",
                next_step="name the parameters in their order, or number them from 0",
            )
    elif isinstance(formatters, Sequence) and not isinstance(formatters, (str, bytes)):
        found = tuple(formatters)
    elif formatters is not None:
        raise OptionError(
            f"{what} is {type(formatters).__name__}",
            next_step="give a mapping or a tuple of formatters",
        )
    for formatter in found:
        if formatter is not None and not callable(formatter):
            raise OptionError(
                f"{what} has a formatter that is {type(formatter).__name__}",
                next_step="give a callable that takes the argument, or None",
            )
    return names, found
