"""``cuda.kernel()`` on any kernel: it is launched as before, and recorded."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_narration import OptionError, correlation, cuda, span
from gpu_narration._types import Kind
from gpu_narration.cuda import MockGpu, MockKernel, TracedKernel, kernel
from gpu_narration.cuda.backend import choose
from gpu_narration.tracefile import Trace
from gpu_narration.views.sentences import sentence
from tests.support import fake_cupy, fake_libraries
from tests.support.recording import (
    ManualClock,
    Seen,
    recorded,
    recorded_on_library,
    recorded_on_mock,
    simulated_gpu,
)
from tests.support.run import run_python


def add(x: Any, y: Any) -> Any:
    """A kernel's body; run, it raises what the library would raise for bad arguments."""
    return x + y


def _seen(directory: Path, program: Any) -> Seen:
    return recorded_on_library(directory, program, streams=1)


def _launches(directory: Path, program: Any) -> list[str]:
    return _seen(directory, program).lines(Kind.LAUNCH)


# ---- CuPy by hand, other callables ----


def test_a_cupy_kernel_wrapped_by_hand_forwards_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cupy = fake_cupy.install(monkeypatch)
    raw = cupy.RawKernel("31000", "saxpy")
    traced = kernel(raw, every=1)
    traced.max_dynamic_shared_size_bytes = 99

    assert raw.max_dynamic_shared_size_bytes == 99
    assert (traced.attributes, traced.name, traced.code) == (raw.attributes, "saxpy", "31000")
    assert traced.__wrapped__ is raw
    assert "attributes" in dir(traced)
    assert not hasattr(traced, "no_such_thing")

    def program() -> None:
        traced((64,), (256,), (1,), shared_mem=3)

    assert _launches(tmp_path, program) == [
        (
            "TRACE cuda launch saxpy grid=64 block=256 gpu_ms=0.031 stream=0 device=0 "
            '"saxpy ran 0.031 ms on gpu0"'
        )
    ]


def test_a_callable_is_an_event_with_its_name_and_no_shape(tmp_path: Path) -> None:
    def gemm(a: int, b: int) -> int:
        simulated_gpu().launch("gemm", 2_000)
        return a * b

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        assert kernel(gemm, every=1)(6, b=7) == 42
        clock.step(2_000)

    assert recorded_on_mock(tmp_path, program).lines(Kind.LAUNCH) == [
        (
            "TRACE cuda launch gemm gpu_ms=0.002 stream=0 device=0 simulated=true "
            '"gemm ran 0.002 ms on simulated gpu0"'
        )
    ]


def test_a_callable_that_is_told_its_shape_by_keywords_has_it(tmp_path: Path) -> None:
    """GIVEN a function called as PyCUDA's are."""

    def program() -> None:
        kernel(lambda *_, **__: None, name="k")(1, grid=(8, 1), block=(64, 1, 1), shared=256)

    (event,) = (event for event in recorded(tmp_path, program).events if event.kind is Kind.LAUNCH)

    assert {name: event.fields[name] for name in ("grid", "block", "shared_bytes")} == {
        "grid": 8, "block": 64, "shared_bytes": 256,
    }  # fmt: skip


def test_a_librarys_kernel_beside_the_simulator_has_no_simulated_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN the simulator was asked for WHEN a real library launches THEN no number is made up."""
    cupy = fake_cupy.install(monkeypatch)
    monkeypatch.setattr("gpu_narration.cuda.session.choose", choose)

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        kernel(cupy.RawKernel("1", "k"), every=1)((1,), (1,), ())
        kernel(cupy.RawKernel("1", "k"))((1,), (1,), ())

    timed, untimed = recorded_on_mock(tmp_path, program).lines(Kind.LAUNCH)

    assert 'gpu_ms=None gpu_reason="unknown stream"' in timed
    assert "stream=" not in untimed


def test_an_untimed_launch_spoils_a_scope_that_does_not_bracket_it(tmp_path: Path) -> None:
    """GIVEN a scope on the default stream WHEN work goes to another THEN it has no number."""

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "step", gpu=True):
            kernel(MockKernel("k", 1))((1,), (1,), (), stream=gpu.stream())
        clock.step(1_000_000)

    (answer,) = recorded_on_mock(tmp_path, program).learned(Kind.SPAN)

    assert answer["gpu_reason"] == "legacy default stream beside non-blocking ones"


def test_kernel_is_a_decorator_too() -> None:
    @kernel(every=10)
    def gemm() -> str:
        return "done"

    @kernel
    def other() -> str:
        return "also"

    assert isinstance(gemm, TracedKernel)
    assert (gemm(), other()) == ("done", "also")
    assert inspect.signature(gemm) == inspect.signature(gemm.__wrapped__)


def test_a_kernel_wrapped_twice_is_one_event(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        kernel(kernel(MockKernel("k", 1)), name="again")((1,), (1,), ())

    lines = recorded_on_mock(tmp_path, program).lines(Kind.LAUNCH)

    assert [line.split()[3] for line in lines] == ["again"]


def test_a_launch_belongs_to_the_request_it_was_made_for(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with correlation("req-7"):
            kernel(MockKernel("k", 1))((1,), (1,), ())

    assert 'correlation_id="req-7"' in recorded_on_mock(tmp_path, program).lines(Kind.LAUNCH)[0]


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda traced: pickle.loads(pickle.dumps(traced))]
)
def test_a_copy_of_a_traced_kernel_is_one_too(again: Any) -> None:
    traced = again(kernel(MockKernel("k", 5), name="mine", every=3))

    assert repr(traced) == "<traced mine: MockKernel>"
    assert (traced.duration_ns, traced._launches.every) == (5, 3)


def test_an_exception_with_code_of_its_own_is_named_without_running_it(tmp_path: Path) -> None:
    class TrapError(Exception):
        def __str__(self) -> str:
            raise AssertionError("its code must not run")

    def fails() -> None:
        raise TrapError

    def program() -> None:
        with pytest.raises(TrapError):
            kernel(fails)()

    assert 'error="TrapError"' in recorded(tmp_path, program).lines(Kind.LAUNCH)[0]


def test_an_interrupt_inside_a_launch_comes_through_and_ends_its_interval(tmp_path: Path) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with pytest.raises(KeyboardInterrupt):
            kernel(interrupted, every=1)()

    assert (
        'gpu_reason="the launch failed"'
        in (recorded_on_mock(tmp_path, program).lines(Kind.LAUNCH)[0])
    )


@pytest.mark.parametrize("nonsense", [7, "saxpy", object(), None])
def test_what_cannot_be_launched_is_no_kernel(nonsense: Any) -> None:
    with pytest.raises(TypeError, match=type(nonsense).__name__):
        kernel(nonsense)


def test_a_callable_without_a_name_needs_one() -> None:
    nameless = type("Nameless", (), {"__call__": lambda self: 3})()

    with pytest.raises(TypeError, match=r"a name, not Nameless.*name=\.\.\."):
        kernel(nameless)
    assert kernel(nameless, name="three")() == 3


@pytest.mark.parametrize("every", [-1, 0.5, "1"])
def test_a_sample_that_is_no_count_is_refused(every: Any) -> None:
    with pytest.raises(OptionError, match="is no number of launches"):
        kernel(add, every=every)
    with pytest.raises(OptionError, match="is no number of launches"):
        kernel(every=every)


# ---- graphs ----


def _captured(gpu: MockGpu) -> tuple[Any, Any]:
    stream = gpu.stream()
    traced = kernel(MockKernel("k", 5_000))
    gpu.begin_capture(stream)
    with cuda.range("attention", stream=stream):
        traced((1,), (1,), (), stream=stream)
    return stream, gpu.end_capture(stream)


def test_a_graph_is_launched_as_one_event_that_names_its_scopes(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        stream, graph = _captured(gpu)
        kernel(graph, name="step", every=1, captured_on=stream).launch(stream)
        clock.step(5_000)

    assert recorded_on_mock(tmp_path, program).lines(Kind.LAUNCH)[1:] == [
        (
            'TRACE cuda graph_launch step scopes="attention" gpu_ms=0.005 stream=7 device=0 '
            'simulated=true "step ran 0.005 ms on simulated gpu0"'
        )
    ]


def test_a_graph_whose_capture_was_not_seen_says_so(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        stream = gpu.stream()
        gpu.begin_capture(stream)
        kernel(gpu.end_capture(stream), every=1).launch(stream=stream)

    assert (
        'graph_launch graph scopes=None scopes_reason="no scope was seen at its capture"'
        in (recorded_on_mock(tmp_path, program).lines(Kind.LAUNCH)[0])
    )


@pytest.mark.parametrize("every", [0, 1])
def test_a_torch_graph_replays_as_one_event(libraries: Any, tmp_path: Path, every: int) -> None:
    def program() -> None:
        with cuda.patch_torch(every=every):
            graph = libraries.cuda.CUDAGraph()
            graph.capture_begin()
            with cuda.range("mlp"):
                kernel(fake_libraries.JITFunction(add), every=1)[(1,)](1, 2)
            graph.capture_end()
            graph.replay()
            kernel(graph, name="decode", every=1).replay()
        graph.replay()

    lines = _launches(tmp_path, program)

    assert len(lines) == 3
    assert 'gpu_ms=None gpu_reason="stream capture" stream=7' in lines[0]
    assert lines[1].startswith('TRACE cuda graph_launch graph scopes="mlp" gpu_ms=')
    assert lines[2] == (
        'TRACE cuda graph_launch decode scopes="mlp" gpu_ms=0.004 stream=7 device=0 '
        '"decode ran 0.004 ms on gpu0"'
    )


# ---- what is looked at, and what is not ----


@pytest.mark.parametrize(
    ("grid", "shown"),
    [
        ((4, 2), "4x2"),
        ([4, 2], "4x2"),
        (5, 5),
        ((np.int64(6),), 6),
        ((1, 1, 1), 1),
        ((), None),
        (("many",), None),
        (np.float32(2.0), None),
    ],
)
def test_a_shape_is_recorded_as_far_as_it_is_one(tmp_path: Path, grid: Any, shown: Any) -> None:
    def program() -> None:
        kernel(lambda **_: None, name="k")(grid=grid)

    (event,) = (event for event in recorded(tmp_path, program).events if event.kind is Kind.LAUNCH)

    assert event.fields.get("grid") == shown


def test_a_number_on_a_device_is_never_made_a_number_of_ours(tmp_path: Path) -> None:
    class Tensor:
        def __index__(self) -> int:
            raise AssertionError("this would wait for the GPU")

        __int__ = __index__

    def program() -> None:
        kernel(lambda **_: None, name="k")(grid=(Tensor(), 1), shared=Tensor())

    assert "grid" not in recorded(tmp_path, program).lines(Kind.LAUNCH)[0]


def test_a_grid_that_is_used_up_by_looking_reaches_the_kernel_whole(tmp_path: Path) -> None:
    def program() -> None:
        assert kernel(lambda *, grid: list(grid), name="k")(grid=iter((4, 2))) == [4, 2]

    recorded(tmp_path, program)


@pytest.mark.parametrize("every", [0, 1])
def test_a_launch_may_be_the_first_event_of_a_recording_by_environment(
    tmp_path: Path, every: int
) -> None:
    run_python(
        f"""
        from gpu_narration.cuda import MockKernel, kernel
        kernel(lambda: None, name="first", every={every})()
        """,
        cwd=tmp_path,
        env={"GPU_NARRATION_FILE": "t.gnt", "GPU_NARRATION_BACKEND": "mock"},
    )
    trace = Trace(tmp_path / "t.gnt")
    (event,) = (event for event in trace.events() if event.kind is Kind.LAUNCH)
    answer = trace.annotations(event)

    assert (event.names[2], answer["simulated"], answer["stream"]) == ("first", True, 0)
    assert (answer.get("gpu_reason") is None) == (every == 1)


class _Model:
    @kernel
    def scale(self, by: int) -> tuple[object, int]:
        return self, by


def test_a_decorated_method_is_a_method_still() -> None:
    model = _Model()
    assert model.scale(3) == (model, 3)


def test_a_decorated_method_is_the_kernel_in_its_class() -> None:
    assert isinstance(_Model.scale, TracedKernel)


async def _coroutine() -> None: ...


def _generator() -> Iterator[None]:
    yield


@pytest.mark.parametrize("function", [_coroutine, _generator])
def test_what_does_not_run_when_it_is_called_is_refused(function: Any) -> None:
    """Its launch would be timed before there was one."""
    with pytest.raises(TypeError, match="only makes a coroutine or generator"):
        kernel(function)


@pytest.mark.parametrize("name", [3, b"name", []])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match="needs a str as a name"):
        kernel(add, name=name)


def test_a_launch_that_begins_a_recording_is_simulated_in_its_sentence(tmp_path: Path) -> None:
    """GIVEN a forked child WHEN its first event is a launch THEN it is on a simulated GPU."""
    run_python(
        """
        import os
        import gpu_narration
        from gpu_narration.cuda import MockKernel, kernel
        gpu_narration.start("t.gnt", backend="mock")
        launched = kernel(MockKernel("k", 1000), every=1)
        child = os.fork()
        if child == 0:
            launched((1,), (1,), ())
            gpu_narration.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        gpu_narration.stop()
        """,
        cwd=tmp_path,
    )
    trace = Trace(tmp_path / "t.gnt")
    (launch,) = (event for event in trace.events() if event.kind is Kind.LAUNCH)
    assert sentence(launch, trace.annotations(launch)).endswith("on simulated gpu0")
