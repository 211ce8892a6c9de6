"""What a batch tells: its tokens, where they stand, prefill or decode."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import pytest

from gpu_narration.ffi.llama.batches import NO_POSITION, reader


class Batch(ctypes.Structure):
    """As a binding declares it, but for what is not looked at."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
    )


@dataclass
class Counters:
    """Notes of which contexts the counters were settled."""

    settled: list[int] = field(default_factory=list)

    def settle(self, context: int) -> None:
        self.settled.append(context)


def batch(*tokens: tuple[int, int]) -> Batch:
    """A batch of tokens given as (position, sequence)."""
    count = len(tokens)
    ids = [(ctypes.c_int32 * 1)(sequence) for _, sequence in tokens]
    pointers = [ctypes.cast(one, ctypes.POINTER(ctypes.c_int32)) for one in ids]
    made = Batch(
        count,
        (ctypes.c_int32 * count)(*(position for position, _ in tokens)),
        (ctypes.c_int32 * count)(*[1] * count),
        (ctypes.POINTER(ctypes.c_int32) * count)(*pointers),
    )
    made.kept_alive = ids
    return made


def read(made: Batch) -> dict[str, object]:
    return reader(Counters())((0x1000, made))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tokens", "phase"),
    [
        ([(7, 0)], "decode"),
        ([(0, 0)], "prefill"),
        ([(0, 0), (1, 0), (2, 0)], "prefill"),
        ([(5, 0), (9, 1), (3, 2)], "decode"),
        ([(5, 0), (0, 1)], "prefill"),
        ([(5, 0), (6, 0), (9, 1)], "prefill"),
    ],
    ids=["next", "first", "prompt", "each its next", "one begins", "more than one each"],
)
def test_the_phase_follows_from_positions_and_sequences(
    tokens: list[tuple[int, int]], phase: str
) -> None:
    assert read(batch(*tokens))["phase"] == phase


def test_a_batch_tells_how_many_tokens_from_which_position_for_how_many_sequences() -> None:
    fields = read(batch((4, 0), (5, 0), (6, 0)))

    assert (fields["n_tokens"], fields["position"], fields["sequences"]) == (3, 4, 1)


@pytest.mark.parametrize("count", [1, 4])
def test_positions_that_llama_cpp_chooses_are_unknown_with_a_reason(count: int) -> None:
    fields = read(Batch(count, None, None, None))

    assert (fields["n_tokens"], fields["position"]) == (count, None)
    assert fields["position_reason"] == NO_POSITION


def test_an_empty_batch_is_read_without_its_arrays() -> None:
    assert read(Batch(0, None, None, None))["n_tokens"] == 0


def test_what_one_run_of_decodes_moved_is_told_before_the_next_prefill() -> None:
    counters = Counters()
    before = reader(counters)  # type: ignore[arg-type]

    before((0x1000, batch((7, 0))))
    before((0x1000, batch((0, 0), (1, 0))))

    assert counters.settled == [0x1000]
