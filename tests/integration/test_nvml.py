"""Device memory through NVML: what is recorded, and what is said where it cannot be read."""

from __future__ import annotations

import pytest

from gpu_narration._types import Kind
from gpu_narration.tracefile import Phase
from gpu_narration.views import text
from tests.support.nvml import GIB, MIB, device, nvml_environment, sample


def test_the_first_reading_is_a_state_change_with_all_that_is_known(tmp_path):
    """GIVEN a GPU WHEN it is first read THEN one event says what it has, and no before."""
    seen = sample(tmp_path, [device(3 * GIB, 16 * GIB, 512 * MIB)])

    [move] = seen.moves()
    assert move.names[:3] == ("vram", "state_change", "gpu0.used")
    assert move.fields == {
        "before_bytes": None,
        "used_bytes": 3 * GIB,
        "peak_bytes": 3 * GIB,
        "free_bytes": 16 * GIB - 3 * GIB - 512 * MIB,
        "total_bytes": 16 * GIB,
        "reserved_bytes": 512 * MIB,
        "device": 0,
        "uuid": "GPU-aaaa",
        "source": "sampled",
    }


def test_the_trace_names_the_gpus_that_were_watched(tmp_path):
    """GIVEN two GPUs WHEN they are watched THEN notes tell their UUIDs, addresses and names."""
    seen = sample(
        tmp_path,
        [device(GIB, uuid="GPU-aaaa"), device(GIB, uuid="GPU-bbbb")],
        env={"CUDA_VISIBLE_DEVICES": "1,0"},
    )

    assert seen.notes("device") == [
        {
            "index": 0, "uuid": "GPU-bbbb", "name": "Fake GPU",
            "pci_bus_id": "00000000:02:00.0", "simulated": False,
        },
        {
            "index": 1, "uuid": "GPU-aaaa", "name": "Fake GPU",
            "pci_bus_id": "00000000:01:00.0", "simulated": False,
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("total", "threshold"),
    [
        pytest.param(GIB, 2 * MIB, id="small-gpu"),
        pytest.param(80 * GIB, 10 * MIB, id="large-gpu"),
    ],
)
def test_a_move_of_the_threshold_is_told_and_a_smaller_one_is_not(tmp_path, total, threshold):
    """GIVEN two steps that reach the threshold together WHEN they come THEN one event tells both.

    Measured from what was last told, not last read, so that a slow leak shows.
    """
    seen = sample(
        tmp_path,
        [device(100 * MIB, total)],
        f"""
        total, threshold = {total}, {threshold}
        machine(device(100 * MIB + threshold - 1, total))
        sampled(2)
        machine(device(100 * MIB + threshold, total))
        sampled(2)
        """,
    )

    assert seen.used() == [(None, 100 * MIB), (100 * MIB, 100 * MIB + threshold)]


def test_rise_and_fall_read_as_sentences(tmp_path):
    """GIVEN memory that rises in a span and falls after it WHEN shown THEN the lines say so."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        with span("engine", "load_model"):
            sampled()
            machine(device(3 * GIB))
            sampled()
        machine(device(2 * GIB))
        sampled()
        """,
    )

    lines = [text.line(move, {}) for move in seen.moves()[1:]]
    assert lines == [
        (
            'TRACE vram state_change gpu0.used transition="1.0 GiB → 3.0 GiB" '
            '"VRAM on gpu0 rose 2.0 GiB to 3.0 GiB in load_model"'
        ),
        (
            'TRACE vram state_change gpu0.used transition="3.0 GiB → 2.0 GiB" '
            '"VRAM on gpu0 fell 1.0 GiB to 2.0 GiB"'
        ),
    ]


def test_a_change_belongs_to_the_span_that_was_open(tmp_path):
    """GIVEN an open span WHEN memory moves THEN the event names it and is of its request."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        with narration.correlation("req-7"), span("engine", "load_model"):
            machine(device(3 * GIB))
            sampled()
        """,
    )

    [begin] = [e for e in seen.trace.events() if e.kind is Kind.SPAN and e.phase is Phase.BEGIN]
    move = seen.moves()[1]
    assert (move.fields["in_span"], move.fields["in_scope"]) == (begin.id, "load_model")
    assert (move.span, move.correlation) == (begin.id, "req-7")


def test_version_2_leaves_reserved_memory_out_of_used(tmp_path):
    """GIVEN a driver with version 2 WHEN it is read THEN used is without what is reserved."""
    seen = sample(tmp_path, [device(GIB, reserved=256 * MIB)])

    assert [note["memory_version"] for note in seen.notes("vram_device")] == [2]
    assert seen.used() == [(None, GIB)]


def test_version_1_is_used_for_all_where_there_is_no_version_2(tmp_path):
    """GIVEN an old driver WHEN it is read THEN used holds the reserved, which is not known."""
    seen = sample(
        tmp_path,
        [device(GIB, reserved=256 * MIB, flags="v1")],
        """
        machine(device(2 * GIB, reserved=256 * MIB, flags="v1"))
        sampled()
        """,
    )

    assert [note["memory_version"] for note in seen.notes("vram_device")] == [1]
    assert seen.used() == [(None, GIB + 256 * MIB), (GIB + 256 * MIB, 2 * GIB + 256 * MIB)]
    assert {move.fields["reserved_bytes"] for move in seen.moves()} == {None}


# ---- machines without GPUs ----


def test_without_the_library_the_trace_says_why_memory_is_unknown(tmp_path):
    """GIVEN no NVML WHEN a program is traced THEN a note says so and a span tells the reason."""
    (tmp_path / "libnvidia-ml.so.1").write_text("no library\n")  # hides a real one too
    seen = sample(
        tmp_path,
        [],
        """
        with span("engine", "load_model", vram=True):
            pass
        """,
        start='narration.start("t.gnt")\n',
        env=nvml_environment(tmp_path, library=tmp_path),
    )

    reason = "LibraryNotFound: NVML Shared Library Not Found"
    assert seen.notes("vram") == [{"source": None, "reason": reason}]
    [begin, _] = seen.trace.events()
    assert seen.trace.annotations(begin) == {
        "vram_delta_bytes": None,
        "vram_reason": f"no NVML: {reason}",
    }


def test_without_a_driver_the_trace_says_so(tmp_path):
    """GIVEN a library without its driver WHEN it is asked THEN the note names the error."""
    seen = sample(
        tmp_path, ["init 9"], start='narration.start("t.gnt")\nwait(lambda: logged("init"))\n'
    )

    assert seen.notes("vram") == [{"source": None, "reason": "DriverNotLoaded: Driver Not Loaded"}]
    assert seen.log == ["init"]


# ---- which GPUs are ours ----

MACHINE = [
    device(1 * GIB, uuid="GPU-1c3f-aa"),
    device(2 * GIB, uuid="GPU-1c3f-bb"),
    device(3 * GIB, uuid="GPU-77d0-cc"),
]


@pytest.mark.parametrize(
    ("setting", "visible"),
    [
        (None, [1, 2, 3]),
        ("0", [1]),
        ("2,0", [3, 1]),
        (" 1 , 2 ", [2, 3]),
        ("GPU-77d0-cc", [3]),
        ("GPU-7", [3]),
        ("GPU-1c3f-bb,GPU-77", [2, 3]),
        ("2,GPU-1c3f-aa", [3]),
        ("0,7,2", [1]),
        ("0,-1,2", [1]),
        ("2,nonsense,0", [3]),
    ],
)
def test_devices_are_numbered_as_the_program_sees_them(tmp_path, setting, visible):
    """GIVEN CUDA_VISIBLE_DEVICES WHEN memory is read THEN device i is the program's i-th GPU."""
    env = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}

    seen = sample(tmp_path, MACHINE, env=env)

    assert [
        (move.fields["device"], move.names[2], move.fields["used_bytes"]) for move in seen.moves()
    ] == [(i, f"gpu{i}.used", used * GIB) for i, used in enumerate(visible)]


@pytest.mark.parametrize("setting", ["", "-1", "9", "GPU-1c3f", "GPU-ffff", "MIG-77d0", "²", "1,1"])
def test_a_setting_that_hides_every_gpu_is_the_reason_given(tmp_path, setting):
    """GIVEN a setting under which no GPU is visible WHEN traced THEN note and span quote it."""
    seen = sample(
        tmp_path,
        MACHINE,
        """
        with span("engine", "load_model", vram=True):
            pass
        """,
        start='narration.start("t.gnt")\n',
        env={"CUDA_VISIBLE_DEVICES": setting},
    )

    reason = f"the program sees no GPU (CUDA_VISIBLE_DEVICES={setting!r})"
    assert seen.notes("vram") == [{"source": None, "reason": reason}]
    [begin, _] = seen.trace.events()
    assert seen.trace.annotations(begin)["vram_reason"] == f"no NVML: {reason}"
    assert seen.log == ["init"]


def test_a_nul_in_a_uuid_ends_it(tmp_path):
    """GIVEN a UUID with a NUL and bytes behind it WHEN it is read THEN what precedes it is it."""
    seen = sample(
        tmp_path,
        [device(GIB, uuid="GPU-aa\\0bb"), device(2 * GIB, uuid="GPU-cc\\0")],
        env={"CUDA_VISIBLE_DEVICES": "GPU-cc,GPU-aa"},
    )

    assert [note["uuid"] for note in seen.notes("device")] == ["GPU-cc", "GPU-aa"]
    assert [move.fields["used_bytes"] for move in seen.moves()] == [2 * GIB, GIB]
