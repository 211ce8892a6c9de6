"""What of a device's memory is this process's own: told where NVML can say, with a reason else."""

from __future__ import annotations

import pytest

from gpu_narration.cuda import share
from gpu_narration.views import text
from tests.support.nvml import GIB, MIB, START, device, instance, sample


def _shares(seen) -> list[dict[str, object]]:
    """What each record says of processes, in itself or later."""
    return [
        {
            key: value
            for key, value in {**move.fields, **seen.trace.annotations(move)}.items()
            if key.startswith("process_")
        }
        for move in seen.moves()
    ]


def test_the_share_of_this_process_is_told_beside_the_whole(tmp_path):
    """GIVEN two processes on a GPU WHEN it is watched THEN the record has ours, and only ours."""
    seen = sample(
        tmp_path,
        [device(5 * GIB), f"process 1 {3 * GIB}", f"process self {2 * GIB}"],
    )

    assert _shares(seen) == [{"process_bytes": 2 * GIB}]


def test_a_process_that_is_not_on_the_gpu_has_nothing_there(tmp_path):
    """GIVEN a list without us WHEN asked THEN zero, since NVML has said so."""
    seen = sample(tmp_path, [device(5 * GIB), f"process 1 {3 * GIB}"])

    assert _shares(seen) == [{"process_bytes": 0}]


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        pytest.param([device(GIB), "process self n/a"], share.NOT_TOLD, id="not available"),
        pytest.param(
            [device(GIB, flags="processes=3")], "NotSupported: Not Supported", id="not supported"
        ),
        pytest.param(
            [device(GIB, flags="processes=4")],
            "NoPermission: Insufficient Permissions",
            id="no permission",
        ),
        pytest.param(
            [device(GIB, uuid="GPU-aaaa"), instance(GIB), "process self n/a"],
            share.INSTANCE,
            id="MIG",
        ),
    ],
)
def test_where_nvml_does_not_say_the_share_is_none_with_the_reason(tmp_path, machine, reason):
    """GIVEN NVML that does not tell WHEN memory is recorded THEN None and why, and no zero."""
    seen = sample(tmp_path, machine)

    assert _shares(seen) == [{"process_bytes": None, "process_reason": reason}]


def test_what_was_refused_is_not_asked_for_again(tmp_path):
    """GIVEN a refusal WHEN memory moves on THEN the reason is told and NVML is left alone."""
    seen = sample(
        tmp_path,
        [device(GIB, flags="processes=3")],
        """
        for used in (2, 3, 4):
            machine(device(used * GIB, flags="processes=3"))
            sampled()
        """,
    )

    assert {share["process_reason"] for share in _shares(seen)} == {"NotSupported: Not Supported"}
    assert _asked(seen) == 1


def _asked(seen) -> int:
    return sum("ComputeRunningProcesses" in function for _, function in seen.calls)


def test_in_a_container_no_pid_is_believed(tmp_path):
    """GIVEN a pid namespace WHEN a pid of the list is ours by chance THEN None, and not asked."""
    seen = sample(
        tmp_path,
        [device(GIB), f"process self {GIB}"],
        start=f"share.namespace_reason = lambda: share.CONTAINER\n{START}",
    )

    assert _shares(seen) == [{"process_bytes": None, "process_reason": share.CONTAINER}]
    assert _asked(seen) == 0


def test_an_old_driver_is_asked_in_its_own_way(tmp_path):
    """GIVEN a driver without version 3 of the list WHEN asked THEN version 2 answers."""
    seen = sample(tmp_path, [device(GIB, flags="noprocesses3"), f"process self {GIB}"])

    assert _shares(seen) == [{"process_bytes": GIB}]


def test_the_list_is_asked_for_seldom_however_fast_memory_moves(tmp_path):
    """GIVEN lists of 30 ms WHEN memory moves ten times at once THEN one is asked; records say so."""
    seen = sample(
        tmp_path,
        ["processes_sleep_ms 30", device(GIB), f"process self {GIB}"],
        f"""
        for used in range(2, 12):
            machine("processes_sleep_ms 30", device(used * GIB), "process self {GIB}")
            sampled()
        """,
        start="share._PAUSE_NS = 10**12\n" + START,
    )

    first, *others = _shares(seen)
    assert first == {"process_bytes": GIB}
    assert len(others) == 10
    assert {other["process_reason"] for other in others} == {share.TOO_SOON}


def test_a_move_that_another_process_made_is_not_said_to_be_ours(tmp_path):
    """GIVEN an open span WHEN another process takes memory THEN the sentence does not blame it."""
    seen = sample(
        tmp_path,
        [device(2 * GIB), f"process self {GIB}"],
        f"""
        with span("engine", "load_model"):
            sampled()
            machine(device(5 * GIB), "process self {GIB}", "process 1 {3 * GIB}")
            sampled()
        """,
        start="share._PAUSE_NS = share._TIME_SHARE = 1\n" + START,
    )

    move = seen.moves()[1]
    assert text.line(move, seen.trace.annotations(move)) == (
        'TRACE vram state_change gpu0.used transition="2.0 GiB → 5.0 GiB" '
        '"VRAM on gpu0 rose 3.0 GiB to 5.0 GiB, not by this process"'
    )


def test_a_move_that_is_ours_is_said_to_be_in_the_span(tmp_path):
    """GIVEN two processes WHEN ours takes memory THEN the sentence names its span."""
    seen = sample(
        tmp_path,
        [device(2 * GIB), f"process self {GIB}", f"process 1 {GIB - MIB}"],
        f"""
        with span("engine", "load_model"):
            sampled()
            machine(device(5 * GIB), "process self {4 * GIB}", "process 1 {GIB - MIB}")
            sampled()
        """,
        start="share._PAUSE_NS = share._TIME_SHARE = 1\n" + START,
    )

    move = seen.moves()[1]
    assert text.line(move, seen.trace.annotations(move)).endswith(
        '"VRAM on gpu0 rose 3.0 GiB to 5.0 GiB in load_model"'
    )


def test_what_asking_cost_is_in_the_trace(tmp_path):
    """GIVEN a list of 20 ms WHEN the recording ends THEN its cost is noted apart."""
    seen = sample(
        tmp_path,
        ["processes_sleep_ms 20", device(GIB), f"process self {GIB}"],
    )

    [cost] = seen.notes("vram_cost")
    assert cost["process_calls"] == 1
    assert cost["process_cost_ns"] >= 2 * 20_000_000  # pynvml asks twice: how many, and which
