"""What is in a batch: how many tokens, from which position on, prefill or decode.

Read by the binding's own structure, so by the names of its fields, and only inside the
call that was given the batch, while its arrays are there.  A batch of one token, which
is what a loop decodes, is read in C; all others are rare enough to be looked into here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from gpu_narration.ffi.description import Read, Reads
from gpu_narration.ffi.llama.addresses import address

NO_POSITION = "the batch leaves positions to llama.cpp"

Before = Callable[[tuple[Any, ...]], dict[str, object]]


def reads(argtypes: Any) -> Reads | None:
    """What is read of the batch in C, by the argument types of a decode; None if its
    structure is not what llama.h says.
    """
    if argtypes is None or len(argtypes) < 2:
        return None
    kind: Any = argtypes[1]
    if not isinstance(kind, type) or not issubclass(kind, ctypes.Structure):
        return None
    declared: dict[str, Any] = {field[0]: field[1] for field in kind._fields_}
    if declared.get("n_tokens") is not ctypes.c_int32:
        return None
    if declared.get("pos") is not ctypes.POINTER(ctypes.c_int32):
        return None
    numbers = (
        Read("n_tokens", kind.n_tokens.offset),
        Read("position", kind.pos.offset, through=True),
    )
    return Reads(kind, 1, numbers, usual=1, field=("phase", "decode"))


def looker(settle: Callable[[int], Mapping[str, object]]) -> Before:
    """Gives the fields of a decode or encode, from its arguments.

    settle: what the counters of a context have moved, told before a prefill begins.

    One token is ``decode``, unless it is the first of its sequence; so are several that
    belong to as many sequences.  All else is ``prefill``, the check of drafted tokens
    among it, which a batch does not tell apart.
    """

    def look(args: tuple[Any, ...]) -> dict[str, object]:
        batch = args[1]
        count, positions = batch.n_tokens, batch.pos
        first = positions[0] if positions and count > 0 else None
        fields: dict[str, object] = {"n_tokens": count, "position": first}
        if first is None and count > 0:
            fields["position_reason"] = NO_POSITION
        if count == 1:
            return fields | {"phase": "prefill" if first == 0 else "decode"}
        sequences = _sequences(batch, count)
        each_its_own = (
            first is not None and sequences == count and all(positions[i] for i in range(count))
        )
        fields["phase"] = "decode" if each_its_own else "prefill"
        fields["sequences"] = sequences
        return fields | dict(settle(address(args[0])))

    return look


def _sequences(batch: Any, count: int) -> int | None:
    """How many sequences its tokens belong to; None where the batch leaves it to llama.cpp."""
    numbers, ids = batch.n_seq_id, batch.seq_id
    if not numbers or not ids:
        return None
    return len({ids[i][j] for i in range(count) for j in range(numbers[i])})
