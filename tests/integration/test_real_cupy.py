"""``patch_cupy()`` on the real CuPy: its classes, its names, and launches that fail without a GPU.

CuPy imports without a driver and then refuses to launch, so what is shown here is
that its own errors come through unchanged, that they are in the trace, and that
everything is put back.  Launches that succeed need a GPU, or the small CuPy of the
unit tests.
"""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import cuda
from gpu_narration._types import Kind
from tests.support.recording import recorded

real = pytest.importorskip("cupy", reason="CuPy is not installed: make test-cupy runs this")

SOURCE = 'extern "C" __global__ void f(float* x) { x[0] = 1; }'
NAMES = ("RawKernel", "RawModule", "ElementwiseKernel", "ReductionKernel")
MAKE = {
    "RawKernel": lambda: real.RawKernel(SOURCE, "f"),
    "RawModule": lambda: real.RawModule(code=SOURCE),
    "ElementwiseKernel": lambda: real.ElementwiseKernel("float32 x", "float32 y", "y = x", "g"),
    "ReductionKernel": lambda: real.ReductionKernel("T x", "T y", "x", "a + b", "y = a", "0", "s"),
}


def has_gpu() -> bool:
    try:
        return bool(real.cuda.runtime.getDeviceCount())
    except real.cuda.runtime.CUDARuntimeError:
        return False


needs_no_gpu = pytest.mark.skipif(has_gpu(), reason="there is a GPU here: nothing fails")


@pytest.fixture
def cupy() -> Iterator[Any]:
    yield real
    cuda.unpatch_cupy()


def array(cupy: Any) -> Any:
    """An array over memory that nobody has, so that no driver is needed to make it."""
    memory = cupy.cuda.UnownedMemory(4096, 4096, None, 0)
    return cupy.ndarray((4,), "f4", cupy.cuda.MemoryPointer(memory, 0))


def everything() -> dict[tuple[str, str], Any]:
    """Every name of every module and Python class of CuPy, as it is stored."""
    found = {}
    for module_name, module in list(sys.modules.items()):
        if module is None or module_name.partition(".")[0] not in (
            "cupy",
            "cupyx",
            "cupy_backends",
        ):
            continue
        for name, value in list(vars(module).items()):
            found[module_name, name] = value
            if isinstance(value, type) and value.__module__.startswith("cupy"):
                for attribute, stored in list(vars(value).items()):
                    found[f"{module_name}.{name}", attribute] = stored
    return found


def differing(before: dict[Any, Any], after: dict[Any, Any]) -> set[Any]:
    """What means something else, or is new, where both looked: not what was imported between."""
    modules = {module for module, _ in before}
    return {
        key
        for key in before.keys() | after.keys()
        if key[0] in modules and before.get(key, key) is not after.get(key, key)
    }


def test_every_name_is_put_back(cupy: Any) -> None:
    before = everything()
    cuda.patch_cupy()
    between = everything()
    cuda.unpatch_cupy()

    assert {("cupy", name) for name in NAMES} <= differing(before, between)
    assert differing(before, everything()) == set()


def test_no_public_name_means_an_unrecorded_kernel(cupy: Any) -> None:
    """GIVEN the patch WHEN all public modules are searched THEN none names the old classes."""
    originals = [getattr(cupy, name) for name in NAMES]
    cuda.patch_cupy()

    left = [
        (module, name)
        for (module, name), value in everything().items()
        if "._" not in module and not name.startswith("_") and value in originals
    ]

    assert left == []


@pytest.mark.parametrize("name", NAMES)
def test_isinstance_stays_true(cupy: Any, name: str) -> None:
    before, base = MAKE[name](), getattr(cupy, name)
    cuda.patch_cupy()
    between, patched = MAKE[name](), getattr(cupy, name)
    cuda.unpatch_cupy()

    assert patched is not base
    assert all(isinstance(made, kind) for made in (before, between) for kind in (base, patched))


@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_copied_and_pickled(cupy: Any, name: str) -> None:
    base = getattr(cupy, name)
    cuda.patch_cupy()
    made = MAKE[name]()
    data = pickle.dumps(made)

    assert type(copy.copy(made)) is type(copy.deepcopy(made)) is getattr(cupy, name)
    assert b"gpu_narration" not in data
    assert type(pickle.loads(data)) is base
    if name != "RawModule":
        assert pickle.loads(data).name == copy.copy(made).name == made.name


@needs_no_gpu
@pytest.mark.parametrize("every", [0, 1])
@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize(
    ("name", "launch"),
    [
        ("RawKernel", lambda kernel, cupy: kernel((1,), (32,), (array(cupy),))),
        ("ElementwiseKernel", lambda kernel, cupy: kernel(array(cupy))),
        ("ReductionKernel", lambda kernel, cupy: kernel(array(cupy))),
    ],
)
def test_a_launch_without_a_driver_raises_cupys_error_and_is_in_the_trace(
    cupy: Any, tmp_path: Path, name: str, launch: Any, by_hand: bool, every: int
) -> None:
    def program() -> None:
        if by_hand:
            kernel = cuda.kernel(MAKE[name](), every=every)
        else:
            cuda.patch_cupy(every=every)
            kernel = MAKE[name]()
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError) as raised:
            launch(kernel, cupy)
        assert raised.value.status == 35

    (line,) = recorded(tmp_path, program, backend="auto").lines(Kind.LAUNCH)

    assert 'gpu_ms=None gpu_reason="the launch failed"' in line or "no GPU" in line
    assert 'error="CUDARuntimeError: cudaErrorInsufficientDriver: CUDA driver version' in line
    assert ("grid=1 block=32" in line) == (name == "RawKernel")


@needs_no_gpu
def test_a_module_without_a_driver_raises_cupys_error(cupy: Any) -> None:
    cuda.patch_cupy()

    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="InsufficientDriver"):
        cupy.RawModule(code=SOURCE).get_function("f")


def test_a_function_of_a_module_is_made_to_record_without_being_compiled_again(cupy: Any) -> None:
    """GIVEN a kernel as get_function gives it WHEN a recording copy is made THEN it is the same.

    The lookup of the kernel needs a GPU, so it is left out here.
    """
    from gpu_narration.cuda.cupy_patch import _raw_methods, _recording

    function = cupy.RawKernel(SOURCE, "f", ("-O3",), enable_cooperative_groups=True)
    recording = _recording(cupy.RawKernel, _raw_methods)
    made = recording.__new__(recording)
    made.__setstate__(function.__getstate__())

    assert made.__getstate__() == function.__getstate__()


@needs_no_gpu
def test_fuse_looks_through_recording_kernels(cupy: Any, tmp_path: Path) -> None:
    """GIVEN kernels in a fused function WHEN it is traced THEN no launch is recorded."""

    def program() -> None:
        cuda.patch_cupy()
        twice = MAKE["ElementwiseKernel"]()
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
            cupy.fuse()(lambda x: twice(x) + 1)(array(cupy))

    assert recorded(tmp_path, program).lines(Kind.LAUNCH) == []


@needs_no_gpu
@pytest.mark.parametrize(
    ("wait", "action", "target"),
    [
        (lambda cupy: array(cupy).get(), "memcpy", "d2h"),
        (lambda cupy: array(cupy)[:1].item(), "memcpy", "d2h"),
        (lambda cupy: array(cupy).tolist(), "memcpy", "d2h"),
        (lambda cupy: cupy.asnumpy(array(cupy)), "memcpy", "d2h"),
        (lambda cupy: str(array(cupy)), "memcpy", "d2h"),
        (lambda cupy: array(cupy).set(__import__("numpy").zeros(4, "f4")), "memcpy", "h2d"),
        (lambda cupy: cupy.cuda.Stream.null.synchronize(), "stream_synchronize", ""),
        (lambda cupy: cupy.cuda.Device(0).synchronize(), "device_synchronize", ""),
        (lambda cupy: cupy.cuda.runtime.memcpy(0, 0, 4, 1), "memcpy", "h2d"),
        (lambda cupy: cupy.cuda.runtime.memcpyAsync(0, 0, 4, 2, 0), "memcpy_async", "d2h"),
        (lambda cupy: cupy.cuda.runtime.deviceSynchronize(), "device_synchronize", ""),
        (lambda cupy: cupy.cuda.runtime.streamSynchronize(0), "stream_synchronize", ""),
        (lambda cupy: cupy.cuda.runtime.eventSynchronize(0), "event_synchronize", ""),
    ],
)
def test_a_wait_without_a_driver_raises_cupys_error_and_is_one_span(
    cupy: Any, tmp_path: Path, wait: Any, action: str, target: str
) -> None:
    def program() -> None:
        cuda.patch_cupy()
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="InsufficientDriver"):
            wait(cupy)

    seen = recorded(tmp_path, program)

    assert [(e.names[0], e.names[1], e.names[2]) for e in seen.begins()] == [
        ("cuda", action, target)
    ]
    assert [end.error_type for end in seen.ends()] == ["CUDARuntimeError"]


def test_an_event_waits_in_a_method_that_is_replaced(cupy: Any) -> None:
    """GIVEN that an Event needs a GPU to be made THEN at least its method is seen to be ours."""
    cuda.patch_cupy()

    assert cupy.cuda.Event.synchronize.__module__ == "cupy.cuda.stream"
    assert hasattr(cupy.cuda.Event.synchronize, "__wrapped__")


@needs_no_gpu
def test_a_graph_without_a_driver_raises_cupys_error(cupy: Any, tmp_path: Path) -> None:
    graph = cupy.cuda.Graph.__new__(cupy.cuda.Graph)

    def program() -> None:
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
            cuda.kernel(graph, name="step").launch(cupy.cuda.Stream.null)

    (line,) = recorded(tmp_path, program).lines(Kind.LAUNCH)

    assert "graph_launch step" in line
    assert "InsufficientDriver" in line
