"""What a batch tells: its tokens, where they stand, prefill or decode."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from gpu_narration.ffi.llama.batches import NO_POSITION, looker, reads


class Batch(ctypes.Structure):
    """As a binding declares it, but for what is not looked at."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
    )


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
    return looker(lambda _context: {})((0x1000, made))


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
    settled = []
    look = looker(lambda context: settled.append(context) or {"before_perf_decode_tokens": 4})

    look((0x1000, batch((7, 0))))
    fields = look((0x1000, batch((0, 0), (1, 0))))

    assert (settled, fields["before_perf_decode_tokens"]) == ([0x1000], 4)


def test_a_batch_as_llama_h_has_it_is_read_in_c() -> None:
    found = reads([ctypes.c_void_p, Batch])

    assert found is not None
    assert [(read.name, read.offset, read.through) for read in found.numbers] == [
        ("n_tokens", Batch.n_tokens.offset, False),
        ("position", Batch.pos.offset, True),
    ]


class Wide(ctypes.Structure):
    _fields_ = (("n_tokens", ctypes.c_int64), ("pos", ctypes.POINTER(ctypes.c_int32)))


@pytest.mark.parametrize(
    "argtypes", [None, [], [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_void_p], [None, Wide]]
)
def test_a_batch_that_is_declared_otherwise_is_not_read_in_c(argtypes: Any) -> None:
    assert reads(argtypes) is None
