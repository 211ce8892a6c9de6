"""What is in a batch: how many tokens, from which position on, prefill or decode.

Read by the binding's own structure, so by the names of its fields, and only inside the
call that was given the batch, while its arrays are there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpu_narration.ffi.llama.addresses import address
from gpu_narration.ffi.llama.counters import Counters

NO_POSITION = "the batch leaves positions to llama.cpp"

Before = Callable[[tuple[Any, ...]], dict[str, object]]


def reader(counters: Counters) -> Before:
    """Gives the fields of a decode or encode, from its arguments.

    One token is ``decode``, unless it is the first of its sequence; so are several that
    belong to as many sequences.  All else is ``prefill``, the check of drafted tokens
    among it, which a batch does not tell apart.
    """

    def read(args: tuple[Any, ...]) -> dict[str, object]:
        batch = args[1]
        count = batch.n_tokens
        positions = batch.pos
        if count == 1:
            if positions:
                first = positions[0]
                return {
                    "n_tokens": 1,
                    "position": first,
                    "phase": "decode" if first else "prefill",
                }
            return {
                "n_tokens": 1, "position": None, "position_reason": NO_POSITION, "phase": "decode",
            }  # fmt: skip
        counters.settle(address(args[0]))
        if not positions or count < 1:
            fields: dict[str, object] = {
                "n_tokens": count, "position": None, "phase": "prefill",
            }  # fmt: skip
            if count > 0:
                fields["position_reason"] = NO_POSITION
            return fields
        sequences = _sequences(batch, count)
        each_its_own = sequences == count and all(positions[i] for i in range(count))
        return {
            "n_tokens": count,
            "position": positions[0],
            "phase": "decode" if each_its_own else "prefill",
            "sequences": sequences,
        }

    return read


def _sequences(batch: Any, count: int) -> int | None:
    """How many sequences its tokens belong to; None where the batch leaves it to llama.cpp."""
    numbers, ids = batch.n_seq_id, batch.seq_id
    if not numbers or not ids:
        return None
    return len({ids[i][j] for i in range(count) for j in range(numbers[i])})
