"""Waits and copies on the simulated GPU, and of PyTorch: spans, so that waiting is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpu_narration import BackendUnavailableError, cuda
from gpu_narration._types import WAITS, Kind, Outcome
from gpu_narration.cuda import CudaError, MockGpu
from gpu_narration.cuda.waits import Waiting
from tests.support import fake_libraries
from tests.support.recording import Seen, recorded, simulated_gpu


def _waits(seen: Seen) -> list[tuple[Any, ...]]:
    return [
        (event.names[0], event.names[1], event.names[2], dict(seen.trace.annotations(event)))
        for event in seen.begins(Kind.SPAN)
    ]


def _on_mock(directory: Path, program: Any) -> Seen:
    return recorded(directory, lambda: program(simulated_gpu()), backend="mock")


HERE = {"device": 0, "simulated": True}


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (
            lambda gpu: gpu.synchronize(gpu.stream()),
            ("cuda", "stream_synchronize", "", {"stream": 7, **HERE}),
        ),
        (lambda gpu: gpu.synchronize(), ("cuda", "device_synchronize", "", {"simulated": True})),
        (
            lambda gpu: gpu.event_synchronize(gpu.event_create(0)),
            ("cuda", "event_synchronize", "", {"simulated": True}),
        ),
        (
            lambda gpu: gpu.memcpy("h2d", 4096, gpu.stream()),
            ("cuda", "memcpy", "h2d", {"size_bytes": 4096, "stream": 7, **HERE}),
        ),
        (
            lambda gpu: gpu.memcpy_async("d2d", 4096),
            ("cuda", "memcpy_async", "d2d", {"size_bytes": 4096, "stream": 0, **HERE}),
        ),
    ],
)
def test_the_simulator_tells_where_it_blocks(tmp_path: Path, wait: Any, expected: Any) -> None:
    seen = _on_mock(tmp_path, wait)

    assert _waits(seen) == [expected]
    assert [end.outcome for end in seen.ends()] == [Outcome.OK]


def test_what_blocks_is_listed_as_waiting_and_an_enqueued_copy_is_not() -> None:
    assert "memcpy" in WAITS
    assert "memcpy_async" not in WAITS


def test_a_wait_lasts_until_the_work_is_done(tmp_path: Path) -> None:
    def program(gpu: MockGpu) -> None:
        stream = gpu.stream()
        gpu.launch("k", 20_000_000, stream)
        gpu.synchronize(stream)

    (end,) = _on_mock(tmp_path, program).ends()

    assert end.elapsed_ns is not None
    assert end.elapsed_ns > 10_000_000


def test_a_copy_that_blocks_waits_for_it_and_one_that_does_not_returns(tmp_path: Path) -> None:
    """GIVEN a copy of 20 simulated ms WHEN it is made both ways THEN only one waits for it."""

    def program(gpu: MockGpu) -> None:
        gpu.memcpy_async("h2d", 500_000_000, gpu.stream())
        gpu.memcpy("d2h", 500_000_000, gpu.stream())

    enqueued, blocked = _on_mock(tmp_path, program).ends()

    assert blocked.elapsed_ns is not None
    assert enqueued.elapsed_ns is not None
    assert blocked.elapsed_ns > max(10_000_000, enqueued.elapsed_ns)


def test_copies_are_in_the_simulators_ledger(tmp_path: Path) -> None:
    def program(gpu: MockGpu) -> None:
        gpu.memcpy("h2d", 2_500)
        ran.extend(gpu.ledger)

    ran: list[Any] = []
    _on_mock(tmp_path, program)

    assert [(entry.name, entry.end_ns - entry.start_ns) for entry in ran] == [("memcpy h2d", 100)]


def test_waiting_in_a_capture_fails_as_cuda_does_and_ends_the_span(tmp_path: Path) -> None:
    def program(gpu: MockGpu) -> None:
        stream = gpu.stream()
        gpu.begin_capture(stream)
        with pytest.raises(CudaError, match="900"):
            gpu.synchronize(stream)

    (end,) = _on_mock(tmp_path, program).ends()

    assert (end.outcome, end.error_type) == (Outcome.ERROR, "CudaError")


def test_a_wait_inside_a_wait_is_the_same_wait(tmp_path: Path) -> None:
    def program() -> None:
        with Waiting("memcpy", "d2h", {}), Waiting("stream_synchronize", "", {}):
            pass
        with Waiting("event_synchronize", "", {}):
            pass

    names = [event.names[1] for event in recorded(tmp_path, program).begins()]

    assert names == ["memcpy", "event_synchronize"]


def test_a_wait_that_is_interrupted_ends_and_the_next_is_seen(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Waiting("memcpy", "d2h", {}):
            raise KeyboardInterrupt

    def program() -> None:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        with Waiting("memcpy", "d2h", {}):
            pass

    assert len(recorded(tmp_path, program).ends()) == 2


# ---- PyTorch ----


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    return fake_libraries.install(monkeypatch, stream=7)


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (lambda cuda: cuda.synchronize(), ("cuda", "device_synchronize", "", {})),
        (lambda cuda: cuda.synchronize(1), ("cuda", "device_synchronize", "", {"device": 1})),
        (
            lambda cuda: cuda.Stream().synchronize(),
            ("cuda", "stream_synchronize", "", {"stream": 7, "device": 0}),
        ),
        (lambda cuda: cuda.Event().synchronize(), ("cuda", "event_synchronize", "", {})),
    ],
)
def test_torch_tells_where_it_waits(torch: Any, tmp_path: Path, wait: Any, expected: Any) -> None:
    def program() -> None:
        with cuda.patch_torch():
            wait(torch.cuda)
        wait(torch.cuda)

    assert _waits(recorded(tmp_path, program)) == [expected]


def test_unpatch_torch_leaves_every_name_as_it_was(torch: Any) -> None:
    owners = (torch.cuda, torch.cuda.Stream, torch.cuda.Event, torch.cuda.CUDAGraph)
    before = [dict(vars(owner)) for owner in owners]
    with cuda.patch_torch():
        between = [dict(vars(owner)) for owner in owners]
    after = [dict(vars(owner)) for owner in owners]

    assert all(now != then for now, then in zip(between, before, strict=True))
    assert after == before


def test_a_function_of_torch_kept_from_meanwhile_only_waits(torch: Any, tmp_path: Path) -> None:
    def program() -> None:
        with cuda.patch_torch():
            kept = torch.cuda.synchronize
        assert kept(3) == ("synchronized", 3)

    assert recorded(tmp_path, program).begins() == []


def test_without_torch_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("sys").modules, "torch", raising=False)

    with pytest.raises(BackendUnavailableError, match="import torch first"):
        cuda.patch_torch()
