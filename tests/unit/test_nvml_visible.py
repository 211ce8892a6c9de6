"""Which physical GPUs a program sees, by CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_narration.cuda.nvml import visible_indices

UUIDS = ["GPU-aaaa1111-0", "GPU-aaaa2222-0", "GPU-bbbb3333-0"]


@pytest.mark.parametrize(
    ("setting", "order"),
    [
        pytest.param(None, [0, 1, 2], id="unset shows all"),
        pytest.param("", [], id="empty shows none"),
        pytest.param("0", [0], id="one index"),
        pytest.param("0,1,2", [0, 1, 2], id="all indices"),
        pytest.param("2,0", [2, 0], id="reordered"),
        pytest.param(" 1 , 2 ", [1, 2], id="spaces round tokens"),
        pytest.param("GPU-bbbb3333-0,GPU-aaaa1111-0", [2, 0], id="whole UUIDs"),
        pytest.param("GPU-b", [2], id="abbreviated UUID"),
        pytest.param("GPU-aaaa2", [1], id="abbreviated as far as unique"),
        pytest.param("GPU-aaaa", [], id="ambiguous UUID"),
        pytest.param("GPU-cccc", [], id="unknown UUID"),
        pytest.param("1,GPU-b", [1, 2], id="index and UUID"),
        pytest.param("1,3,0", [1], id="index past the last ends the list"),
        pytest.param("1,-1,0", [1], id="-1 ends the list"),
        pytest.param("1,GPU-aaaa,0", [1], id="ambiguous token ends the list"),
        pytest.param("1,,0", [1], id="empty token ends the list"),
        pytest.param("1,1,0", [1], id="repeated device ends the list"),
        pytest.param("none", [], id="a word shows none"),
        pytest.param("0,²", [0], id="a superscript is no index"),
        pytest.param("MIG-aaaa", [], id="a MIG device is none of the GPUs"),
    ],
)
def test_the_program_sees(setting: str | None, order: list[int]) -> None:
    assert visible_indices(setting, UUIDS) == order


@given(st.text(max_size=30) | st.lists(st.sampled_from([*UUIDS, "0", "1", "9"])).map(",".join))
def test_no_setting_shows_a_device_twice(setting: str) -> None:
    order = visible_indices(setting, UUIDS)

    assert len(set(order)) == len(order)
