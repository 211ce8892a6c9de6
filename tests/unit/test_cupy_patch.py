"""``patch_cupy()`` on a CuPy whose kernels run on the simulated GPU: what is recorded, and undone."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import BackendUnavailableError, OptionError, cuda, span
from gpu_narration._types import Kind
from gpu_narration.cuda import CudaError, MockGpu
from tests.support import fake_cupy
from tests.support.recording import ManualClock, Seen, recorded, recorded_on_mock, simulated_gpu

NAMES = ("RawKernel", "RawModule", "ElementwiseKernel", "ReductionKernel")


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield fake_cupy.install(monkeypatch)
    cuda.unpatch_cupy()


def _seen(directory: Path, program: Any) -> Seen:
    """What a program on the simulated GPU leaves; the GPU is done with it in the end."""

    def run(gpu: MockGpu, clock: ManualClock) -> None:
        program()
        clock.step(1_000_000)

    return recorded_on_mock(directory, run, backend="cupy")


def _names(seen: Seen) -> list[str | None]:
    return [event.names[2] for event in seen.events if event.kind is Kind.LAUNCH]


def _attributes(cupy: Any) -> dict[str, Any]:
    """Everything that a patch may touch, by owner and name, as it is stored."""
    owners = {
        "cupy": cupy, "cuda": cupy.cuda, "device": cupy.cuda.device,
        "runtime": cupy.cuda.runtime, "ndarray": cupy.ndarray,
        "_BaseStream": fake_cupy._BaseStream, "Stream": cupy.cuda.Stream,
        "Event": cupy.cuda.Event, "Device": fake_cupy.Device, "RawKernel": fake_cupy.RawKernel,
        "RawModule": fake_cupy.RawModule, "ElementwiseKernel": fake_cupy.ElementwiseKernel,
        "ReductionKernel": fake_cupy.ReductionKernel,
    }  # fmt: skip
    return {f"{o}.{n}": v for o, owner in owners.items() for n, v in vars(owner).items()}


# ---- what is recorded ----


def test_a_raw_kernel_records_its_launch_with_shape_and_stream(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy(every=1)
        stream = cupy.cuda.Stream(non_blocking=True)
        saxpy = cupy.RawKernel("31000", "saxpy")
        saxpy((64, 2), (256,), (1,), shared_mem=512, stream=stream)

    seen = _seen(tmp_path, program)

    assert seen.lines(Kind.LAUNCH) == [
        (
            'TRACE cuda launch saxpy grid="64x2" block=256 gpu_ms=0.031 stream=7 device=0 '
            '"saxpy ran 0.031 ms on gpu0"'
        )
    ]


def test_the_shape_of_a_launch_is_stored_whole(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        cupy.RawKernel("1", "saxpy")((8,), (32,), (), shared_mem=512)

    (event,) = (event for event in _seen(tmp_path, program).events if event.kind is Kind.LAUNCH)

    assert (event.fields["grid"], event.fields["block"], event.fields["shared_bytes"]) == (
        8,
        32,
        512,
    )


def test_a_launch_without_a_stream_goes_to_cupys_current_one(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        with cupy.cuda.Stream(non_blocking=True):
            cupy.RawKernel("1", "saxpy")((8,), (32,), ())

    assert "stream=7 device=0" in _seen(tmp_path, program).lines(Kind.LAUNCH)[0]


def test_a_function_of_a_module_records_its_launches(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        cupy.RawModule(code="1").get_function("f<int>")((1,), (1,), ())

    assert _names(_seen(tmp_path, program)) == ["f<int>"]


def test_a_function_of_a_module_is_a_raw_kernel(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        function = cupy.RawModule(code="1").get_function("f")
        assert isinstance(function, cupy.RawKernel)
        assert isinstance(function, fake_cupy.RawKernel)
        assert (function.name, function.code) == ("f", "1")

    _seen(tmp_path, program)


def test_a_module_without_the_function_raises_what_cupy_raises(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        with pytest.raises(CudaError, match="cudaErrorInvalidResourceHandle"):
            cupy.RawModule(code="1").get_function("missing")

    assert _names(_seen(tmp_path, program)) == []


def test_elementwise_and_reduction_kernels_record_by_name(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        assert cupy.ElementwiseKernel("T x", "T y", "y = x", "twice")(5) == 5
        assert cupy.ReductionKernel("T x", "T y", name="total")(6, axis=0) == 6

    seen = _seen(tmp_path, program)

    assert _names(seen) == ["twice", "total"]
    assert not any("grid=" in line for line in seen.lines(Kind.LAUNCH))


def test_one_launch_in_so_many_of_each_kernel_is_timed(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy(every=2)
        one, other = cupy.RawKernel("1000", "one"), cupy.RawKernel("2000", "other")
        for _ in range(3):
            one((1,), (1,), ())
        other((1,), (1,), ())

    learned = [answer.get("gpu_ns") for answer in _seen(tmp_path, program).learned(Kind.LAUNCH)]

    assert learned == [1000, None, 1000, 2000]


def test_a_timed_launch_is_compiled_before_its_time_begins(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy(every=1)
        kernel = cupy.RawKernel("1000", "one")
        for _ in range(2):
            kernel((1,), (1,), ())

    assert [answer["gpu_ns"] for answer in _seen(tmp_path, program).learned(Kind.LAUNCH)] == [
        1000,
        1000,
    ]
    assert fake_cupy.compilations == ["one"]


def test_a_launch_that_compiles_inside_has_a_reason_and_no_number(
    cupy: Any, tmp_path: Path
) -> None:
    """GIVEN a kernel that CuPy compiles for each type WHEN a new type comes THEN no number."""

    def program() -> None:
        cuda.patch_cupy(every=1)
        twice = cupy.ElementwiseKernel("T x", "T y", "y = x", "twice")
        for value in (1, 2, 3.0, 4.0):
            twice(value)

    learned = _seen(tmp_path, program).learned(Kind.LAUNCH)

    assert [answer["gpu_ns"] for answer in learned] == [None, 2000, None, 2000]
    assert learned[0]["gpu_reason"] == "compiled inside the launch"


def test_what_fuse_looks_at_is_no_launch(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        twice = cupy.ElementwiseKernel("T x", "T y", "y = x", "twice")
        fake_cupy.fusing.on = True
        assert twice(1) == "a step of a fusion"

    assert _names(_seen(tmp_path, program)) == []


def test_a_source_that_does_not_compile_raises_what_cupy_raises(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        for every in (0, 1):
            cuda.patch_cupy(every=every)
            with pytest.raises(fake_cupy.CompileError, match="broken: no number"):
                cupy.RawKernel("}{", "broken")((1,), (1,), ())

    lines = _seen(tmp_path, program).lines(Kind.LAUNCH)

    assert len(lines) == 2
    assert all('error="CompileError: broken: no number"' in line for line in lines)
    assert all('gpu_ms=None gpu_reason="the launch failed"' in line for line in lines)


def test_arguments_that_cupy_refuses_raise_what_cupy_raises(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        kernel = cupy.RawKernel("1", "k")
        with pytest.raises(TypeError, match="expected tuple"):
            kernel([1], [1], ())
        with pytest.raises(TypeError, match="missing 3 required positional arguments"):
            kernel()
        with pytest.raises(TypeError, match="unexpected keyword argument 'sharedmem'"):
            kernel((1,), (1,), (), sharedmem=3)
        with pytest.raises(AttributeError, match="'str' object has no attribute 'ptr'"):
            kernel((1,), (1,), (), stream="seven")

    assert len(_names(_seen(tmp_path, program))) == 4


def test_a_kernel_wrapped_by_hand_too_is_one_event(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy(every=1)
        cuda.kernel(cupy.RawKernel("1", "k"), name="mine")((1,), (1,), ())

    assert _names(_seen(tmp_path, program)) == ["mine"]


# ---- isinstance, copies, pickles ----


@pytest.mark.parametrize("name", NAMES)
def test_isinstance_stays_true_before_between_and_after(cupy: Any, name: str) -> None:
    make = {
        "RawKernel": lambda: cupy.RawKernel("1", "k"),
        "RawModule": lambda: cupy.RawModule(code="1"),
        "ElementwiseKernel": lambda: cupy.ElementwiseKernel("T x", "T y", "y = x"),
        "ReductionKernel": lambda: cupy.ReductionKernel("T x"),
    }[name]
    before = make()
    base = getattr(cupy, name)
    cuda.patch_cupy()
    between, patched = make(), getattr(cupy, name)

    assert isinstance(before, patched)
    assert isinstance(between, patched)
    assert isinstance(between, base)
    assert issubclass(base, patched)
    assert not isinstance(object(), patched)
    cuda.unpatch_cupy()
    assert isinstance(between, getattr(cupy, name))
    assert isinstance(before, patched)


def test_a_recording_class_looks_like_the_one_it_stands_for(cupy: Any) -> None:
    base = cupy.RawKernel
    cuda.patch_cupy()

    names = ("__name__", "__qualname__", "__module__", "__doc__")
    assert [getattr(cupy.RawKernel, n) for n in names] == [getattr(base, n) for n in names]


def test_a_subclass_of_the_programs_own_records_and_is_no_other(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()

        class Mine(cupy.RawKernel):
            pass

        Mine("1", "mine")((1,), (1,), ())
        assert not isinstance(cupy.RawKernel("1", "k"), Mine)
        assert isinstance(Mine("1", "mine"), cupy.RawKernel)

    assert _names(_seen(tmp_path, program)) == ["mine"]


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_kernel_records(cupy: Any, tmp_path: Path, copying: Any) -> None:
    def program() -> None:
        cuda.patch_cupy()
        kernel = copying(cupy.RawKernel("1", "k"))
        assert type(kernel) is cupy.RawKernel
        kernel((1,), (1,), ())

    assert _names(_seen(tmp_path, program)) == ["k"]


def test_a_pickle_needs_nothing_of_ours_and_comes_back_as_cupys_own(cupy: Any) -> None:
    cuda.patch_cupy()
    data = pickle.dumps(cupy.RawKernel("1", "k", ("-O3",)))

    again = pickle.loads(data)

    assert b"gpu_narration" not in data
    assert type(again) is fake_cupy.RawKernel
    assert (again.code, again.name, again.options) == ("1", "k", ("-O3",))


def test_attributes_of_kernels_are_read_and_set_as_before(cupy: Any) -> None:
    cuda.patch_cupy()
    kernel = cupy.RawKernel("1", "k")
    kernel.max_dynamic_shared_size_bytes = 99

    assert (kernel.max_dynamic_shared_size_bytes, kernel.attributes) == (99, {"num_regs": 16})


# ---- undoing ----


def test_unpatch_leaves_every_name_as_it_was(cupy: Any) -> None:
    before = _attributes(cupy)
    cuda.patch_cupy()
    between = _attributes(cupy)
    cuda.unpatch_cupy()
    after = _attributes(cupy)

    changed = {name for name in between if between[name] is not before.get(name)}
    assert changed >= {f"cupy.{name}" for name in NAMES}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] is not after[name]] == []


def test_unpatch_after_patching_twice_leaves_every_name_as_it_was(cupy: Any) -> None:
    before = _attributes(cupy)
    cuda.patch_cupy()
    cuda.patch_cupy(every=3)
    cuda.unpatch_cupy()
    cuda.unpatch_cupy()
    after = _attributes(cupy)

    assert [name for name in before if before[name] is not after.get(name)] == []


def test_kernels_made_meanwhile_work_on_and_record_nothing(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        raw, module = cupy.RawKernel("1", "k"), cupy.RawModule(code="1")
        function = module.get_function("f")
        twice = cupy.ElementwiseKernel("T x", "T y", "y = x")
        total = cupy.ReductionKernel("T x")
        cuda.unpatch_cupy()
        raw((1,), (1,), ())
        function((1,), (1,), ())
        assert type(module.get_function("g")) is fake_cupy.RawKernel
        assert (twice(1), total(2)) == (1, 2)

    assert _names(_seen(tmp_path, program)) == []


def test_a_kernel_of_an_earlier_patch_records_under_a_later_one(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        kernel = cupy.RawKernel("1", "k")
        cuda.unpatch_cupy()
        cuda.patch_cupy()
        kernel((1,), (1,), ())

    assert _names(_seen(tmp_path, program)) == ["k"]


def test_what_somebody_else_put_in_our_place_stays(cupy: Any) -> None:
    cuda.patch_cupy()
    theirs = type("RawKernel", (cupy.RawKernel,), {})
    cupy.RawKernel = theirs
    cuda.unpatch_cupy()

    assert cupy.RawKernel is theirs
    assert cupy.RawModule is fake_cupy.RawModule


def test_as_a_context_manager_it_ends_with_the_block(cupy: Any) -> None:
    base = cupy.RawKernel
    with contextlib.suppress(KeyError), cuda.patch_cupy():
        inside = cupy.RawKernel
        raise KeyError

    assert inside is not base
    assert cupy.RawKernel is base


def test_a_block_inside_a_patch_leaves_the_patch_in_force(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        with cuda.patch_cupy(every=1):
            pass
        kernel = cupy.RawKernel("1", "k")
        kernel((1,), (1,), ())

    (line,) = _seen(tmp_path, program).lines(Kind.LAUNCH)

    assert 'gpu_reason="launches of this kernel are not timed"' in line


def test_without_cupy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)

    with pytest.raises(
        BackendUnavailableError, match=r"finds no CuPy.*cuda12.*backend-unavailable"
    ):
        cuda.patch_cupy()


@pytest.mark.parametrize("every", [-1, 1.5, "2", None])
def test_a_sample_that_is_no_count_is_refused(cupy: Any, every: Any) -> None:
    with pytest.raises(OptionError, match="is no number of launches"):
        cuda.patch_cupy(every=every)
    assert cupy.RawKernel is fake_cupy.RawKernel


def test_while_nothing_records_kernels_only_run(cupy: Any, tmp_path: Path) -> None:
    """GIVEN a patched CuPy and no recording WHEN a kernel fails THEN its own error comes through."""
    cuda.patch_cupy(every=1)
    with pytest.raises(fake_cupy.CompileError):
        cupy.RawKernel("}{", "broken")((1,), (1,), ())

    assert recorded(tmp_path, lambda: None).lines() == []


# ---- waits ----


def _waits(seen: Seen) -> list[tuple[Any, ...]]:
    """Action, target and fields of the waits, in order."""
    begins = seen.begins(Kind.SPAN)
    return [
        (event.names[1], event.names[2], dict(seen.trace.annotations(event))) for event in begins
    ]


@pytest.mark.parametrize(
    ("wait", "recorded_as"),
    [
        (
            lambda cupy: cupy.cuda.ExternalStream(9, 0).synchronize(),
            ("stream_synchronize", "", {"stream": 9, "device": 0}),
        ),
        (lambda cupy: cupy.cuda.Event().synchronize(), ("event_synchronize", "", {})),
        (lambda cupy: cupy.cuda.Device(1).synchronize(), ("device_synchronize", "", {"device": 1})),
        (lambda cupy: cupy.ndarray().get(), ("memcpy", "d2h", {"size_bytes": 4096})),
        (lambda cupy: cupy.ndarray().item(), ("memcpy", "d2h", {"size_bytes": 4096})),
        (lambda cupy: cupy.asnumpy(cupy.ndarray()), ("memcpy", "d2h", {"size_bytes": 4096})),
        (
            lambda cupy: cupy.ndarray().get(cupy.cuda.ExternalStream(9, 0), blocking=False),
            ("memcpy_async", "d2h", {"size_bytes": 4096, "stream": 9, "device": 0}),
        ),
        (lambda cupy: cupy.ndarray().set([1]), ("memcpy", "h2d", {"size_bytes": 4096})),
        (lambda cupy: cupy.cuda.runtime.memcpy(1, 2, 3, 1), ("memcpy", "h2d", {"size_bytes": 3})),
        (lambda cupy: cupy.cuda.runtime.memcpy(1, 2, 3, 3), ("memcpy", "d2d", {"size_bytes": 3})),
        (
            lambda cupy: cupy.cuda.runtime.memcpyAsync(1, 2, 3, 2, 9),
            ("memcpy_async", "d2h", {"size_bytes": 3, "stream": 9}),
        ),
        (
            lambda cupy: cupy.cuda.runtime.streamSynchronize(9),
            ("stream_synchronize", "", {"stream": 9}),
        ),
        (lambda cupy: cupy.cuda.runtime.eventSynchronize(9), ("event_synchronize", "", {})),
        (lambda cupy: cupy.cuda.runtime.deviceSynchronize(), ("device_synchronize", "", {})),
    ],
)
def test_a_wait_is_one_span(cupy: Any, tmp_path: Path, wait: Any, recorded_as: Any) -> None:
    def program() -> None:
        cuda.patch_cupy()
        wait(cupy)

    seen = recorded(tmp_path, program)

    assert _waits(seen) == [recorded_as]
    assert len(seen.ends()) == 1


def test_a_wait_that_fails_raises_what_it_raises_and_ends_its_span(
    cupy: Any, tmp_path: Path
) -> None:
    def program() -> None:
        cuda.patch_cupy()
        with pytest.raises(TypeError, match="Only numpy"):
            cupy.ndarray().set(None)

    (end,) = recorded(tmp_path, program).ends()

    assert (end.outcome.name, end.error_type) == ("ERROR", "TypeError")


def test_after_unpatch_waits_are_not_seen(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        with cuda.patch_cupy():
            device = cupy.cuda.Device(0)
        cupy.ndarray().get()
        cupy.cuda.ExternalStream(9, 0).synchronize()
        cupy.cuda.runtime.deviceSynchronize()
        device.synchronize()

    assert len(recorded(tmp_path, program).begins()) == 0


# ---- graphs ----


def _capturing(cupy: Any) -> Any:
    stream = cupy.cuda.Stream(non_blocking=True)
    kernel = cupy.RawKernel("5000", "k")
    stream.begin_capture()
    with span("engine", "attention", gpu=True, stream=stream):
        kernel((1,), (1,), (), stream=stream)
    with span("engine", "mlp"):
        kernel((1,), (1,), (), stream=stream)
    return stream, stream.end_capture()


def test_a_captured_graph_is_launched_as_one_event_that_names_its_scopes(
    cupy: Any, tmp_path: Path
) -> None:
    def program() -> None:
        cuda.patch_cupy(every=1)
        stream, graph = _capturing(cupy)
        graph.launch(stream)

    launches = _seen(tmp_path, program).lines(Kind.LAUNCH)

    assert launches[2:] == [
        (
            'TRACE cuda graph_launch graph scopes="attention, mlp" gpu_ms=0.010 '
            'stream=7 device=0 "graph ran 0.010 ms on gpu0"'
        )
    ]


@pytest.mark.parametrize("every", [0, 1])
def test_launches_inside_a_capture_have_a_reason_and_no_number(
    cupy: Any, tmp_path: Path, every: int
) -> None:
    def program() -> None:
        cuda.patch_cupy(every=every)
        _capturing(cupy)

    launches = _seen(tmp_path, program).lines(Kind.LAUNCH)

    assert len(launches) == 2
    assert all('gpu_ms=None gpu_reason="stream capture" stream=7' in line for line in launches)


def test_a_captured_graph_is_one_of_cupys_to_the_program(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        _, graph = _capturing(cupy)
        assert isinstance(graph, cupy.cuda.Graph)

    _seen(tmp_path, program)


def test_a_graph_captured_meanwhile_works_on_and_records_nothing(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        with cuda.patch_cupy(every=1):
            stream, graph = _capturing(cupy)
        graph.launch(stream=stream)

    assert len(_names(_seen(tmp_path, program))) == 2


def test_a_graph_named_by_hand_keeps_its_scopes(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        stream, graph = _capturing(cupy)
        cuda.kernel(graph, name="decode_step", every=1).launch(stream)

    line = _seen(tmp_path, program).lines(Kind.LAUNCH)[2]

    assert line.startswith('TRACE cuda graph_launch decode_step scopes="attention, mlp"')
    assert "gpu_ms=0.010" in line


def test_a_capture_that_failed_leaves_nothing_to_the_next(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        stream = cupy.cuda.Stream(non_blocking=True)
        kernel = cupy.RawKernel("5000", "k")
        stream.begin_capture()
        with span("engine", "attention"):
            kernel((1,), (1,), (), stream=stream)
        simulated_gpu().invalidate_capture(simulated_gpu().find_stream(stream.ptr))
        with pytest.raises(CudaError, match="901"):
            stream.end_capture()
        stream.begin_capture()
        with span("engine", "mlp"):
            kernel((1,), (1,), (), stream=stream)
        stream.end_capture().launch(stream)

    assert 'scopes="mlp"' in _seen(tmp_path, program).lines(Kind.LAUNCH)[2]
