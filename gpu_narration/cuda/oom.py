"""When memory runs out: what was asked for, what there was, and which scopes took it.

Nothing is patched for it.  A scope that ends with an exception whose type has a telling
name gives it to :class:`PostMortem`, and so does a call of a library that came back
with NULL instead of an object (``ffi.trace_library``); nothing is done before that.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass

from gpu_narration import _core
from gpu_narration._types import Kind, Level
from gpu_narration.cuda.backend import Backend, CudaError, MemoryInfo
from gpu_narration.cuda.pools import Pools
from gpu_narration.cuda.scope_memory import ScopeMemory
from gpu_narration.cuda.session import scope_name
from gpu_narration.cuda.takers import Taken

ACTOR, ACTION = "vram", "out_of_memory"

#: cudaErrorMemoryAllocation and CUDA_ERROR_OUT_OF_MEMORY have the same number.
_OUT_OF_MEMORY = 2
#: So many scopes are named.
_NAMED = 5
#: So many failures are remembered where their types cannot be referred to weakly.
_REMEMBERED = 16
#: So much of an exception's text is read.
_TEXT_MAX = 4096

_NO_SIZE = "the error does not say how much was asked for"
_NO_POOL = "no caching pool that can be read is in use"
_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
#: CuPy gives exact bytes, PyTorch two decimals of a unit.
_SIZE = r"([\d,.]{1,24}) (bytes|[KMGT]iB)"
_REQUESTED = re.compile(rf"(?:memory allocating|[Tt]ried to allocate) {_SIZE}")
_LIMIT = re.compile(rf"limit set to: {_SIZE}")
_DEVICE = re.compile(r"GPU (\d{1,4})\b")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed allocation says of itself; None where it does not.

    ``name``: of the exception's type, or of the function that returned NULL.
    ``rounded``: the size is read from a text that rounds it.
    """

    name: str
    null: bool = False
    requested_bytes: int | None = None
    rounded: bool = False
    limit_bytes: int | None = None
    device: int | None = None


def recognise(failure: object) -> Failure | None:
    """What has failed; None for what has nothing to do with memory.

    ``failure`` is an exception, or the name of a function that returned NULL.
    """
    if isinstance(failure, str):
        return Failure(failure, null=True)
    names = {base.__name__ for base in type(failure).__mro__}
    if "OutOfMemoryError" in names:
        return _read(failure)
    if isinstance(failure, CudaError):
        if failure.code == _OUT_OF_MEMORY:
            return Failure(type(failure).__name__, requested_bytes=failure.requested_bytes)
    elif _status(failure) == _OUT_OF_MEMORY:
        return Failure(type(failure).__name__)
    return None


def _status(error: object) -> object:
    """The number that CuPy's errors carry; a program's own type of that name may do anything."""
    try:
        return getattr(error, "status", None)
    except Exception:  # noqa: BLE001 - not ours, and no news
        return None


def _read(error: object) -> Failure:
    """From the text, which both libraries make of plain strings and numbers."""
    name = type(error).__name__
    arguments = getattr(error, "args", ())
    if not arguments or type(arguments[0]) is not str:
        return Failure(name)
    text = arguments[0][:_TEXT_MAX]
    requested, limit = _REQUESTED.search(text), _LIMIT.search(text)
    device = _DEVICE.search(text)
    return Failure(
        name,
        requested_bytes=_bytes(requested),
        rounded=requested is not None and requested[2] != "bytes",
        limit_bytes=_bytes(limit),
        device=None if device is None else int(device[1]),
    )


def _bytes(found: re.Match[str] | None) -> int | None:
    if found is None:
        return None
    try:
        return round(float(found[1].replace(",", "").rstrip(".")) * _UNITS[found[2]])
    except ValueError:
        return None


class PostMortem:
    """Tells of each failure once, in the innermost scope that it leaves."""

    def __init__(self, memory: ScopeMemory, *, simulated: bool) -> None:
        self._memory = memory
        self._simulated = simulated
        self._lock = threading.RLock()
        self._told: OrderedDict[int, weakref.ref[object] | None] = OrderedDict()

    def tell(
        self, event_id: int, failure: object, device: int | None, backend: Backend | None,
        pools: Pools,
    ) -> None:  # fmt: skip
        """``device``: of the scope that ends, where it is known."""
        seen = recognise(failure)
        if seen is None or not (seen.null or self._is_new(failure)):
            return
        where = _device(seen, device, backend)
        info = self._memory.now(where, backend)
        pool_names, pooled = pools.now(where)
        cached = 0 if pooled is None else pooled.cached_bytes
        fields: dict[str, object] = {"failed": seen.name, "null": seen.null, "device": where}
        scope = scope_name(event_id)
        if scope is not None:
            fields["in_scope"] = scope
        fields["vram_requested_bytes"] = seen.requested_bytes
        if seen.requested_bytes is None:
            fields["vram_requested_reason"] = _NO_SIZE
        elif seen.rounded:
            fields["vram_requested_rounded"] = True
        if seen.limit_bytes is not None:
            fields["vram_limit_bytes"] = seen.limit_bytes
        fields.update(_memory_fields(info))
        fields["vram_reserved_bytes"] = None if pooled is None else pooled.reserved_bytes
        if pooled is None:
            fields["vram_reserved_reason"] = _NO_POOL
        else:
            fields["vram_cached_bytes"] = cached
            fields["vram_pool"] = pool_names
        fields.update(_taken_fields(self._memory.taken(where, info, cached)))
        if self._simulated:
            fields["simulated"] = True
        _core.emit(
            Kind.NARRATION, Level.ERROR, __name__, ACTOR, ACTION, f"gpu{where}", "", fields
        )  # fmt: skip

    def _is_new(self, failure: object) -> bool:
        """Whether this very exception was not told of; nothing keeps it alive."""
        with self._lock:
            if id(failure) in self._told:
                known = self._told[id(failure)]
                if known is None or known() is failure:
                    return False
            try:
                self._told[id(failure)] = weakref.ref(failure)
            except TypeError:
                self._told[id(failure)] = None  # its address must do
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            return True


def _device(seen: Failure, device: int | None, backend: Backend | None) -> int:
    if seen.device is not None:
        return seen.device
    if device is not None:
        return device
    try:
        return 0 if backend is None else backend.stream_of(None).device
    except (CudaError, TypeError):
        return 0


def _memory_fields(info: MemoryInfo | str) -> dict[str, object]:
    if isinstance(info, str):
        return {"vram_free_bytes": None, "vram_reason": info}
    return {
        "vram_free_bytes": info.free_bytes,
        "vram_used_bytes": info.used_bytes,
        "vram_total_bytes": info.total_bytes,
        "vram_source": info.source,
    }


def _taken_fields(taken: list[Taken]) -> dict[str, object]:
    fields: dict[str, object] = {}
    takers = [each for each in taken if each.bytes > 0]
    for number, each in enumerate(takers[:_NAMED], start=1):
        fields[f"taken_{number}"] = " ".join(filter(None, each.name))
        fields[f"taken_{number}_bytes"] = each.bytes
        if each.at_most:
            fields[f"taken_{number}_at_most"] = True
    if takers[_NAMED:]:
        fields["taken_others_bytes"] = sum(each.bytes for each in takers[_NAMED:])
    given_back = -sum(each.bytes for each in taken if each.bytes < 0)
    if given_back:
        fields["given_back_bytes"] = given_back
    return fields
