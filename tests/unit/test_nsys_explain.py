"""Explaining reports whose truth is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_narration.nsight.report import opened
from gpu_narration.timeline.nsys import reasons
from gpu_narration.timeline.nsys.explain import Explanation, explain
from gpu_narration.timeline.nsys.table import RangeTotals
from tests.support.nsys_export import START_END, Export
from tests.support.nsys_programs import PIDS, RandomProgram

P, T = 41, 42


def explained(path: Path, **options: bool) -> Explanation:
    with opened(path) as report:
        return explain(report, **options)


def of(told: Explanation, name: str) -> RangeTotals:
    (row,) = [row for row in told.ranges if row.name == name]
    return row


@pytest.fixture
def export() -> Export:
    return Export()


def test_work_belongs_to_the_innermost_range_and_to_those_round_it(export, tmp_path):
    export.range(P, T, 0, 1_000, "step")
    export.range(P, T, 100, 500, "forward")
    export.launch(P, T, 200, 1, 300, 400)
    export.launch(P, T, 600, 2, 700, 750)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert of(told, "step").busy.covered_ns == 150
    assert of(told, "step").own.covered_ns == 50
    assert of(told, "forward").busy.covered_ns == 100
    assert (of(told, "step").work.kernels, of(told, "forward").work.kernels) == (2, 1)


def test_work_that_overlaps_counts_once(export, tmp_path):
    """GIVEN three kernels at once on three streams THEN busy is their union, not their sum."""
    export.range(P, T, 0, 1_000, "step")
    for number, (start, end) in enumerate([(100, 200), (150, 250), (120, 130)], 1):
        export.call(P, T, number, number + 1, number)
        export.kernel(P, start, end, number, stream=number)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert of(told, "step").busy.covered_ns == 150
    assert told.busy.covered_ns == 150
    assert sum(row.total_ns for row in told.kernels) == 210


def test_processes_with_the_same_correlation_ids_are_told_apart(export, tmp_path):
    """GIVEN the id 7 in two processes THEN each kernel goes to its own, and the trap is counted."""
    for pid, name in ((41, "mine"), (51, "theirs")):
        export.range(pid, pid, 0, 100, name)
        export.launch(pid, pid, 10, 7, 20, 30 + pid)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert of(told, "mine").busy.covered_ns == 51
    assert of(told, "theirs").busy.covered_ns == 61
    assert told.wrong_by_correlation_alone == 2


def test_nodes_of_a_graph_belong_to_the_launch_of_the_graph(export, tmp_path):
    export.range(P, T, 0, 100, "replay")
    export.call(P, T, 10, 12, 5, "cudaGraphLaunch_v10000")
    for node in range(4):
        export.kernel(P, 20 + node, 30 + node, 5, graph_node=node + 1)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert of(told, "replay").work.kernels == 4
    assert told.graph_nodes == 4


def test_a_graph_that_was_traced_as_a_whole_is_work(export, tmp_path):
    export.range(P, T, 0, 100, "replay")
    export.call(P, T, 10, 12, 5, "cudaGraphLaunch_v10000")
    export.add(
        "CUPTI_ACTIVITY_KIND_GRAPH_TRACE", start=20, end=50, deviceId=0, streamId=7,
        correlationId=5, globalPid=1 << 48 | P << 24, graphId=3,
    )  # fmt: skip
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert (of(told, "replay").work.graphs, of(told, "replay").busy.covered_ns) == (1, 30)


def test_a_start_end_range_holds_the_calls_of_the_thread_that_ended_it(export, tmp_path):
    export.range(P, 1, 0, 100, "request", kind=START_END, ended_by=2)
    export.range(P, 1, 0, 100, "other", kind=START_END, ended_by=3)
    export.launch(P, 2, 50, 1, 60, 70)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert of(told, "request").work.kernels == 1
    assert of(told, "other").work.kernels == 0


def test_a_call_outside_all_belongs_to_the_only_open_range_of_another_thread(export, tmp_path):
    export.range(P, 1, 0, 100, "request", kind=START_END, ended_by=1)
    export.launch(P, 2, 50, 1, 60, 70)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert of(told, "request").work.kernels == 1
    assert of(told, "request").calls == 1


def test_of_several_ranges_of_other_threads_none_is_guessed(export, tmp_path):
    export.range(P, 1, 0, 100, "request 1", kind=START_END, ended_by=1)
    export.range(P, 3, 10, 90, "request 2", kind=START_END, ended_by=3)
    export.launch(P, 2, 50, 1, 60, 70)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert {reason: counts.total for reason, counts in told.reasons.items()} == {
        reasons.AMBIGUOUS: 1
    }


def test_start_end_ranges_that_cross_hold_nothing_while_both_are_open(export, tmp_path):
    """GIVEN two tasks that take turns in a thread THEN only what round both is certain counts."""
    export.range(P, T, 0, 1_000, "loop")
    export.range(P, T, 100, 500, "task a", kind=START_END, ended_by=T)
    export.range(P, T, 300, 800, "task b", kind=START_END, ended_by=T)
    for number, at in enumerate((200, 400, 600), 1):
        export.launch(P, T, at, number, at + 10, at + 20)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert (of(told, "task a").work.kernels, of(told, "task b").work.kernels) == (1, 1)
    assert of(told, "loop").work.kernels == 3


def test_each_reason_is_counted(export, tmp_path):
    export.range(P, T, 0, 100, "step")
    export.launch(P, T, 200, 1, 210, 220)  # outside
    export.kernel(P, 300, 310, 99)  # cut off
    export.kernel(P, 320, 330, None)
    export.kernel(None, 340, 350, 98)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert {reason: counts.kernels for reason, counts in told.reasons.items()} == {
        reasons.OUTSIDE: 1, reasons.NO_CALL: 1, reasons.NO_CORRELATION: 1, reasons.NO_PROCESS: 1,
    }  # fmt: skip


def test_idle_time_goes_to_what_ended_it(export, tmp_path):
    """GIVEN a GPU that is idle from 100 to 400 WHEN the next launch is called at 250 THEN it
    stood idle 300 ns before that range, for 150 of which nothing had been asked for.
    """
    export.range(P, T, 0, 240, "first")
    export.range(P, T, 245, 500, "second")
    export.launch(P, T, 10, 1, 50, 100)
    export.launch(P, T, 250, 2, 400, 450)
    told = explained(export.write(tmp_path / "r.sqlite"))

    idle = of(told, "second").idle
    assert (idle.gaps, idle.total_ns, idle.starved_ns) == (1, 300, 150)
    assert of(told, "first").idle.gaps == 0


def test_waiting_calls_are_told_from_others(export, tmp_path):
    export.range(P, T, 0, 1_000, "step")
    export.call(P, T, 10, 20, 1)
    export.call(P, T, 100, 400, 2, "cudaStreamSynchronize_v3020")
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert (of(told, "step").api_ns, of(told, "step").waiting_ns) == (310, 300)


def test_what_belongs_to_one_call_of_pytorch_is_left_out_of_the_name(export, tmp_path):
    export.range(P, T, 0, 10, "aten::mm, op_id = 314286")
    export.range(P, T, 20, 30, "aten::mm, seq = 5, op_id = 314300, sizes = [[2, 3]]")
    path = export.write(tmp_path / "r.sqlite")

    assert of(explained(path), "aten::mm").calls == 2
    assert len(explained(path, by_name=False).ranges) == 2


def test_a_named_domain_is_part_of_the_name(export, tmp_path):
    export.range(P, T, 0, 10, "decode", domain="gpu_narration", payload=5)

    assert of(explained(export.write(tmp_path / "r.sqlite")), "gpu_narration:decode").calls == 1


def test_gpus_that_processes_number_differently_are_not_added_up(export, tmp_path):
    """GIVEN two processes whose device 0 may be two GPUs THEN there are two rows."""
    for pid in (41, 51):
        export.launch(pid, pid, 10, pid, 20, 30)
        export.add("TARGET_INFO_CUDA_DEVICE", gpuId=pid // 51, cudaId=0, pid=pid)
    told = explained(export.write(tmp_path / "r.sqlite"))

    assert [(row.index, row.pid) for row in told.devices] == [(0, 41), (0, 51)]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1 << 32))
def test_any_program_is_explained_as_it_was(seed, tmp_path_factory):
    """GIVEN any program of two processes, threads, graphs and overlapping work on three streams
    THEN every figure is what it was made to be.
    """
    program = RandomProgram(seed)
    truth = program.truth
    told = explained(program.export.write(tmp_path_factory.mktemp("nsys") / "r.sqlite"))

    assert (told.work.kernels, told.attributed.kernels, told.graph_nodes) == (
        truth.kernels, truth.attributed_kernels, truth.graph_nodes,
    )  # fmt: skip
    assert {reason: counts.total for reason, counts in told.reasons.items()} == truth.reasons
    assert told.busy.covered_ns == len(truth.busy)
    assert {row.pid: row.busy.covered_ns for row in told.processes} == {
        pid: len(truth.busy_of_process[pid]) for pid in PIDS if pid in truth.busy_of_process
    }
    found = {
        row.name: (
            row.calls, row.cpu_ns, row.work.kernels, row.work.copies, row.busy.covered_ns,
            row.own.covered_ns, row.lag.ns,
        )
        for row in told.ranges
    }  # fmt: skip
    assert found == {
        name: (
            row.calls, row.cpu_ns, row.kernels, row.copies, len(row.busy), len(row.own),
            sorted(row.lags)[(len(row.lags) - 1) // 2] if row.lags else None,
        )
        for name, row in truth.ranges.items()
    }  # fmt: skip
