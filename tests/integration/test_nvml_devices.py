"""Devices that go and come back, that are parts of others, and that are many."""

from __future__ import annotations

import pytest

from gpu_narration._types import Kind, Level
from gpu_narration.views import text
from tests.support.native import fake_cuda
from tests.support.nvml import GIB, MIB, device, instance, nvml_environment, sample

# ---- lost and found ----

#: A lost device is tried again so soon that a test has the time for it.
RETRY = """
from gpu_narration.cuda import vram
vram.RETRY_NS, vram.RETRY_MAX_NS = 10_000_000, 20_000_000

def wait_for_attempts(count):
    target = logged("end") + count
    wait(lambda: logged("end") >= target)

narration.start("t.gnt")
sampled()
"""
SAMPLER = """
def sampler():
    from gpu_narration import recorder
    return recorder._active._recording.gpu._sampler
"""


def test_a_lost_gpu_is_told_once_as_unknown_and_the_program_goes_on(tmp_path):
    """GIVEN a GPU that falls off the bus WHEN it is read again and again THEN one event says it."""
    seen = sample(
        tmp_path,
        [device(3 * GIB)],
        """
        trace_tiny("engine", "before", "loss", "")
        machine(device(3 * GIB, flags="lost"))
        wait_for_attempts(3)
        trace_tiny("engine", "after", "loss", "")
        """,
        start=RETRY,
    )

    loss = seen.moves()[1:]
    assert [text.line(event, {}) for event in loss] == [
        (
            'WARN vram state_change gpu0.used transition="3.0 GiB → ?" '
            '"VRAM on gpu0 is unknown: GpuIsLost: GPU is lost"'
        )
    ]
    actions = [event.names[1] for event in seen.trace.events() if event.kind is Kind.TINY]
    assert actions == ["before", "after"]


@pytest.mark.parametrize(
    "back", [pytest.param("", id="under-its-old-handle"), pytest.param("moved", id="under-a-new")]
)
def test_a_gpu_that_comes_back_is_watched_again(tmp_path, back):
    """GIVEN a lost GPU WHEN it answers again THEN its series begins anew: there is no before."""
    seen = sample(
        tmp_path,
        [device(3 * GIB)],
        f"""
        machine(device(3 * GIB, flags="lost"))
        wait_for_attempts(2)
        machine(device(GIB, flags={back!r}))
        wait(lambda: (reading := sampler().latest(0)) is not None)
        machine(device(2 * GIB, flags={back!r}))
        sampled()
        """,
        start=RETRY + SAMPLER,
    )

    assert seen.used() == [(None, 3 * GIB), (3 * GIB, None), (None, GIB), (GIB, 2 * GIB)]
    assert seen.log.count("init") == 1


def test_a_lost_gpu_is_left_alone_for_longer_and_longer(tmp_path):
    """GIVEN a lost GPU WHEN another one is read 30 times THEN the lost one was tried less often."""
    seen = sample(
        tmp_path,
        [device(GIB, uuid="GPU-aaaa"), device(GIB, uuid="GPU-bbbb")],
        """
        machine(device(GIB, uuid="GPU-aaaa", flags="lost"), device(GIB, uuid="GPU-bbbb"))
        sampled(15)
        """,
    )

    [lost, healthy] = seen.notes("vram_cost")
    assert 1 <= lost["failures"] <= 3
    assert healthy["calls"] - lost["calls"] >= 10


def test_a_lost_gpu_does_not_stop_the_others_from_being_watched(tmp_path):
    """GIVEN two GPUs of which one gets lost WHEN the other moves THEN that is told."""
    seen = sample(
        tmp_path,
        [device(GIB, uuid="GPU-aaaa"), device(GIB, uuid="GPU-bbbb")],
        """
        machine(device(GIB, uuid="GPU-aaaa", flags="lost"), device(2 * GIB, uuid="GPU-bbbb"))
        sampled()
        """,
    )

    assert seen.used(device=0) == [(None, GIB), (GIB, None)]
    assert seen.used(device=1) == [(None, GIB), (GIB, 2 * GIB)]


def test_a_gpu_that_is_lost_from_the_start_costs_only_itself(tmp_path):
    """GIVEN a machine whose first GPU is lost WHEN it is watched THEN the second keeps its number."""
    seen = sample(
        tmp_path,
        [
            device(GIB, reserved=MIB, uuid="GPU-aaaa", flags="lost"),
            device(GIB, reserved=MIB, uuid="GPU-bbbb"),
        ],
    )

    assert seen.used(device=0) == [(None, None)]
    assert seen.used(device=1) == [(None, GIB)]


def test_a_gpu_that_was_lost_from_the_start_gets_its_name_when_it_comes(tmp_path):
    """GIVEN a GPU that could not say who it is WHEN it comes back THEN its records name it."""
    seen = sample(
        tmp_path,
        [device(GIB, flags="lost"), device(GIB, uuid="GPU-bbbb")],
        """
        machine(device(2 * GIB), device(GIB, uuid="GPU-bbbb"))
        wait(lambda: (reading := sampler().latest(0)) is not None)
        """,
        start=RETRY + SAMPLER,
    )

    assert [(move.fields["uuid"], move.fields["used_bytes"]) for move in seen.moves()] == [
        ("", None),
        ("GPU-bbbb", GIB),
        ("GPU-aaaa", 2 * GIB),
    ]


# ---- refusals ----


def test_where_memory_may_not_be_read_the_reason_is_told(tmp_path):
    """GIVEN a GPU whose memory is not ours to read WHEN it is watched THEN unknown, and why."""
    seen = sample(
        tmp_path,
        [device(GIB, flags="denied")],
        """
        with span("engine", "load_model", vram=True):
            pass
        """,
    )

    [move] = seen.moves()
    assert (move.level, move.fields["used_bytes"], move.fields["reason"]) == (
        Level.WARN,
        None,
        "NoPermission: Insufficient Permissions",
    )
    begin = next(event for event in seen.trace.events() if event.kind is Kind.SPAN)
    assert seen.trace.annotations(begin) == {
        "vram_delta_bytes": None,
        "vram_reason": "NoPermission: Insufficient Permissions",
    }


def test_where_nvml_itself_is_refused_the_trace_says_so(tmp_path):
    """GIVEN a user without permission WHEN NVML is initialised THEN the note names the error."""
    seen = sample(
        tmp_path, ["init 4"], start='narration.start("t.gnt")\nwait(lambda: logged("init"))\n'
    )

    assert seen.notes("vram") == [
        {"source": None, "reason": "NoPermission: Insufficient Permissions"}
    ]


# ---- versions ----


def test_each_device_keeps_the_version_it_first_answered(tmp_path):
    """GIVEN a driver that forgets version 2 WHEN it is read on THEN unknown, no other version."""
    seen = sample(
        tmp_path,
        [device(GIB, reserved=MIB)],
        """
        machine(device(GIB, reserved=MIB, flags="v1"))
        wait_for_attempts(1)
        """,
        start=RETRY,
    )

    assert seen.used() == [(None, GIB), (GIB, None)]


# ---- MIG ----


def test_the_instance_that_a_program_sees_is_watched_and_not_its_gpu(tmp_path):
    """GIVEN a partitioned GPU WHEN it is watched THEN memory is the first instance's, by its UUID."""
    seen = sample(
        tmp_path,
        [
            device(20 * GIB, 80 * GIB, uuid="GPU-aaaa"),
            instance(GIB, 10 * GIB, uuid="MIG-1111"),
            instance(2 * GIB, 20 * GIB, uuid="MIG-2222"),
        ],
    )

    [move] = seen.moves()
    assert (move.fields["uuid"], move.fields["used_bytes"], move.fields["total_bytes"]) == (
        "MIG-1111",
        GIB,
        10 * GIB,
    )
    assert [note["parent_uuid"] for note in seen.notes("vram_device")] == ["GPU-aaaa"]


@pytest.mark.parametrize("setting", ["MIG-2222", "MIG-2", "MIG-GPU-aaaa/8/0"])
def test_an_instance_is_chosen_by_its_name(tmp_path, setting):
    """GIVEN CUDA_VISIBLE_DEVICES that names an instance WHEN it is watched THEN it is that one."""
    seen = sample(
        tmp_path,
        [
            device(20 * GIB, 80 * GIB, uuid="GPU-aaaa"),
            instance(GIB, 10 * GIB, uuid="MIG-1111"),
            instance(2 * GIB, 20 * GIB, uuid="MIG-2222"),
            device(5 * GIB, 80 * GIB, uuid="GPU-bbbb"),
        ],
        env={"CUDA_VISIBLE_DEVICES": setting},
    )

    assert [move.fields["uuid"] for move in seen.moves()] == ["MIG-2222"]


def test_a_partitioned_gpu_without_instances_is_not_there(tmp_path):
    """GIVEN MIG mode and no instance WHEN watched THEN the program sees the other GPU alone."""
    seen = sample(tmp_path, [device(GIB, flags="mig"), device(2 * GIB, uuid="GPU-bbbb")])

    assert [(move.names[2], move.fields["uuid"]) for move in seen.moves()] == [
        ("gpu0.used", "GPU-bbbb")
    ]


# ---- many ----


def test_sixteen_gpus_are_watched_each_under_its_number(tmp_path):
    """GIVEN 16 GPUs WHEN one of them moves THEN 17 records, and that one's is the last."""
    lines = [device((i + 1) * GIB, 80 * GIB, uuid=f"GPU-{i:04x}") for i in range(16)]
    seen = sample(
        tmp_path,
        lines,
        f"""
        lines = {lines!r}
        sampled(devices=16)
        lines[11] = device(40 * GIB, 80 * GIB, uuid="GPU-000b")
        machine(*lines)
        sampled(devices=16)
        """,
    )

    assert [move.names[2] for move in seen.moves()] == [
        *(f"gpu{i}.used" for i in range(16)),
        "gpu11.used",
    ]
    assert seen.used(device=11) == [(None, 12 * GIB), (12 * GIB, 40 * GIB)]


# ---- whose numbers ----

#: As the fake driver names its devices; NVML finds them in the other order of buses.
CUDA_0 = "GPU-face0000-0000-0000-0000-000000000000"
CUDA_1 = "GPU-face0000-0000-0000-0000-000000000001"
TWO = [device(GIB, uuid=CUDA_1, flags="bus=65"), device(2 * GIB, uuid=CUDA_0, flags="bus=27")]
SWAPPED = [device(GIB, uuid=CUDA_1, flags="bus=27"), device(2 * GIB, uuid=CUDA_0, flags="bus=65")]


def _numbers(seen) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for note in seen.notes("device"):
        found.setdefault(str(note["uuid"]), []).append(note["index"])
    return found


def test_devices_are_counted_in_the_order_of_their_buses(tmp_path):
    """GIVEN NVML in an order of its own WHEN devices are numbered THEN by PCI bus."""
    seen = sample(tmp_path, TWO, env={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})

    assert _numbers(seen) == {CUDA_0: [0], CUDA_1: [1]}
    assert seen.notes("vram") == [{"source": "NVML", "order": "CUDA"}]


def test_without_cuda_the_trace_says_that_the_numbers_are_nvmls(tmp_path):
    """GIVEN two GPUs and no CUDA WHEN they are numbered THEN the note says whose order it is."""
    seen = sample(tmp_path, SWAPPED)

    assert seen.notes("vram") == [{"source": "NVML", "order": "NVML"}]
    assert _numbers(seen) == {CUDA_1: [0], CUDA_0: [1]}


def _with_cuda(directory) -> dict[str, str]:
    environment = nvml_environment(directory)
    environment["LD_LIBRARY_PATH"] += f":{fake_cuda().parent}"
    return {**environment, "FAKE_CUDA_DEVICES": "2"}


def test_once_cuda_works_devices_are_numbered_as_it_counts_them(tmp_path):
    """GIVEN a program that initialises CUDA WHEN memory moves after it THEN numbers are CUDA's."""
    seen = sample(
        tmp_path,
        SWAPPED,
        f"""
        import ctypes
        cuda = ctypes.CDLL("libcuda.so.1")
        sampled(devices=2)
        assert cuda.cuInit(0) == 0
        sampled(devices=2)
        machine(device(GIB, uuid={CUDA_1!r}, flags="bus=27"),
                device(5 * GIB, uuid={CUDA_0!r}, flags="bus=65"))
        sampled(devices=2)
        """,
        env=_with_cuda(tmp_path),
    )

    assert [note["order"] for note in seen.notes("vram")] == ["NVML", "CUDA"]
    assert _numbers(seen) == {CUDA_1: [0, 1], CUDA_0: [1, 0]}
    last = seen.moves()[-1]
    assert (last.names[2], last.fields["before_bytes"], last.fields["used_bytes"]) == (
        "gpu0.used",
        2 * GIB,
        5 * GIB,
    )


def test_a_recording_does_not_initialise_cuda(tmp_path):
    """GIVEN a program that has only loaded CUDA WHEN memory is watched THEN it stays so."""
    seen = sample(
        tmp_path,
        SWAPPED,
        """
        import ctypes
        cuda = ctypes.CDLL("libcuda.so.1")
        sampled(5, devices=2)
        print(cuda.cuDeviceGetCount(ctypes.byref(ctypes.c_int(0))))
        """,
        env=_with_cuda(tmp_path),
    )

    assert seen.stdout == "3\n"  # CUDA_ERROR_NOT_INITIALIZED


def test_memory_that_grows_with_every_reading_is_told_in_steps_of_the_threshold(tmp_path):
    """GIVEN growth of 1 MiB a reading WHEN the threshold is 2 MiB THEN every second one is told."""
    seen = sample(tmp_path, [device(GIB), f"grow {MIB}"], "sampled(8)")

    steps = [after - before for before, after in seen.used()[1:]]
    assert len(steps) >= 4
    assert set(steps) == {2 * MIB}
