"""Which devices a program sees, by CUDA_VISIBLE_DEVICES, and in whose order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_narration.cuda.visible import (
    Enumerated,
    Gpu,
    Instance,
    Place,
    order_is_known,
    pci_order,
    visible,
)

UUIDS = ["GPU-aaaa1111-0", "GPU-aaaa2222-0", "GPU-bbbb3333-0"]
GPUS = [Gpu(uuid) for uuid in UUIDS]


def _whole(setting: str | None, gpus: list[Gpu] = GPUS) -> list[int]:
    places = visible(setting, gpus)
    assert all(place.instance is None for place in places)
    return [place.gpu for place in places]


@pytest.mark.parametrize(
    ("setting", "order"),
    [
        pytest.param(None, [0, 1, 2], id="unset shows all"),
        pytest.param("", [], id="empty shows none"),
        pytest.param("0", [0], id="one index"),
        pytest.param("0,1,2", [0, 1, 2], id="all indices"),
        pytest.param("2,0", [2, 0], id="reordered"),
        pytest.param(" 1 , 2 ", [1, 2], id="spaces round tokens"),
        pytest.param("+1", [1], id="a sign"),
        pytest.param("01", [1], id="a leading zero"),
        pytest.param("1gpu,2x", [1, 2], id="an index ends where its digits end"),
        pytest.param("GPU-bbbb3333-0,GPU-aaaa1111-0", [2, 0], id="whole UUIDs"),
        pytest.param("GPU-b", [2], id="abbreviated UUID"),
        pytest.param("GPU-aaaa2", [1], id="abbreviated as far as unique"),
        pytest.param("GPU-aaaa", [], id="ambiguous UUID"),
        pytest.param("GPU-cccc", [], id="unknown UUID"),
        pytest.param("1,GPU-b", [1], id="a UUID ends a list of indices"),
        pytest.param("GPU-b,1", [2], id="an index ends a list of UUIDs"),
        pytest.param("1,3,0", [1], id="index past the last ends the list"),
        pytest.param("1,-1,0", [1], id="-1 ends the list"),
        pytest.param("-1", [], id="-1 shows none"),
        pytest.param("GPU-b,GPU-aaaa,GPU-aaaa1", [2], id="ambiguous UUID ends the list"),
        pytest.param("1,,0", [1], id="empty token ends the list"),
        pytest.param("1,1,0", [], id="a repeated index shows none"),
        pytest.param("0,2,0", [], id="wherever it is repeated"),
        pytest.param("GPU-b,GPU-bbbb", [], id="one device by two names shows none"),
        pytest.param("none", [], id="a word shows none"),
        pytest.param("0,²", [0], id="a superscript is no index"),
        pytest.param("MIG-aaaa", [], id="no instance, no device"),
    ],
)
def test_the_program_sees(setting: str | None, order: list[int]) -> None:
    assert _whole(setting) == order


@given(st.text(max_size=30) | st.lists(st.sampled_from([*UUIDS, "0", "1", "9"])).map(",".join))
def test_no_setting_shows_a_device_twice(setting: str) -> None:
    order = _whole(setting)

    assert len(set(order)) == len(order)


# ---- MIG ----

PARTITIONED = Gpu(
    "GPU-cccc4444-0",
    partitioned=True,
    instances=(Instance("MIG-11111111-0", 7, 0), Instance("MIG-12222222-0", 8, 0)),
)
EMPTY = Gpu("GPU-dddd5555-0", partitioned=True)


@pytest.mark.parametrize(
    ("setting", "places"),
    [
        pytest.param(None, [Place(1, 0)], id="an instance hides whole GPUs"),
        pytest.param("0", [Place(0)], id="a whole GPU alone"),
        pytest.param("0,1", [Place(1, 0)], id="an instance wins over a whole GPU"),
        pytest.param("1", [Place(1, 0)], id="a partitioned GPU is its first instance"),
        pytest.param("GPU-c", [Place(1, 0)], id="by UUID too"),
        pytest.param("MIG-12222222-0", [Place(1, 1)], id="an instance by UUID"),
        pytest.param("MIG-12", [Place(1, 1)], id="abbreviated"),
        pytest.param("MIG-1", [], id="ambiguous"),
        pytest.param("MIG-9", [], id="unknown"),
        pytest.param("MIG-12,MIG-11", [Place(1, 1)], id="only the first of two"),
        pytest.param("MIG-12,MIG-12", [], id="repeated"),
        pytest.param("MIG-GPU-cccc4444-0/8/0", [Place(1, 1)], id="as before R470"),
        pytest.param("MIG-GPU-cccc4444-0/9/0", [], id="as before R470, unknown"),
    ],
)
def test_with_mig_the_program_sees(setting: str | None, places: list[Place]) -> None:
    assert visible(setting, [GPUS[0], PARTITIONED]) == places


def test_a_partitioned_gpu_without_instances_is_no_device() -> None:
    assert visible(None, [EMPTY, GPUS[0]]) == [Place(1)]


# ---- order ----


@pytest.mark.parametrize(
    ("setting", "device_order", "gpus", "known"),
    [
        (None, None, 2, False),
        (None, "FASTEST_FIRST", 2, False),
        (None, "PCI_BUS_ID", 2, True),
        ("1,0", None, 2, False),
        ("1,0", "PCI_BUS_ID", 2, True),
        ("GPU-b,GPU-a", None, 2, True),
        ("MIG-12", None, 2, True),
        (None, None, 1, True),
    ],
)
def test_pci_order_is_cudas_order(
    setting: str | None, device_order: str | None, gpus: int, known: bool
) -> None:
    assert order_is_known(setting, device_order, gpus) is known


def test_pci_buses_are_counted_in_hexadecimal() -> None:
    buses = ["00000000:9A:00.0", "00000000:1B:00.0", "00000001:02:00.0"]

    assert sorted(buses, key=pci_order) == [buses[1], buses[0], buses[2]]


@pytest.mark.parametrize(
    ("uuid", "pci_bus_id", "same"),
    [
        pytest.param("GPU-aa-11", "", True, id="a GPU by UUID"),
        pytest.param("MIG-aa-11", "", True, id="an instance by UUID"),
        pytest.param("GPU-aa-12", "00000000:1B:00.0", False, id="a UUID counts more than a bus"),
        pytest.param("", "00000000:1B:00.0", True, id="by bus, however long its domain"),
        pytest.param("", "00000000:1C:00.0", False, id="another bus"),
        pytest.param("", "", False, id="nothing is known"),
    ],
)
def test_what_cuda_counts_is_found_among_what_nvml_shows(
    uuid: str, pci_bus_id: str, same: bool
) -> None:
    assert Enumerated("aa-11", "0000:1b:00.0").is_same(uuid, pci_bus_id) is same
