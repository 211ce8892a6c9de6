"""The presets of the CUDA driver and runtime, on a fake libcuda and libcudart."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from ctypes import byref, c_int, c_size_t, c_uint, c_void_p
from pathlib import Path
from typing import Any

import pytest

from gpu_narration._types import Kind, Outcome
from gpu_narration.cuda.libcuda import LibCuda
from gpu_narration.ffi import cuda_driver, cuda_runtime
from gpu_narration.tracefile import Event, Trace
from gpu_narration.tracefile.format import Pointer, Value
from gpu_narration.views import text
from tests.support.native import fake_cuda, fake_cudart
from tests.support.recording import Seen, recorded
from tests.support.run import run_python


@pytest.fixture
def libcuda() -> Iterator[Any]:
    """The program's driver, with a context current."""
    gc.collect()  # libraries of other tests
    library: Any = ctypes.CDLL(str(fake_cuda()))
    library.fake_cuReset(1)
    assert library.cuInit(0) == 0
    context = c_void_p()
    assert library.cuDevicePrimaryCtxRetain(byref(context), 0) == 0
    assert library.cuCtxSetCurrent(context) == 0
    library.cuMemAlloc_v2.argtypes = (ctypes.POINTER(c_void_p), c_size_t)
    library.cuMemFree_v2.argtypes = (c_void_p,)
    yield library
    cuda_driver.uninstall()
    library.fake_cuReset(1)


@pytest.fixture
def libcudart() -> Iterator[Any]:
    library: Any = ctypes.CDLL(str(fake_cudart()))
    library.cudaMalloc.argtypes = (ctypes.POINTER(c_void_p), c_size_t)
    library.cudaFree.argtypes = (c_void_p,)
    yield library
    cuda_runtime.uninstall()


def _names(seen: Seen) -> list[str | None]:
    return [event.names[1] for event in seen.begins(Kind.FOREIGN)]


def _named(event: Event) -> dict[str | None, Value]:
    return {argument.name: argument.value for argument in event.arguments}


def test_an_allocation_tells_its_size_and_its_address(tmp_path: Path, libcuda: Any) -> None:
    address = c_void_p()
    with cuda_driver.install():
        seen = recorded(tmp_path, lambda: libcuda.cuMemAlloc_v2(byref(address), 1 << 20))

    begin, end = seen.begins(Kind.FOREIGN)[0], seen.ends(Kind.FOREIGN)[0]
    assert (_named(begin)["size_bytes"], end.fields) == (
        1 << 20,
        {"address": Pointer(address.value or 0)},
    )


def test_an_error_is_told_by_the_drivers_name_and_text(tmp_path: Path, libcuda: Any) -> None:
    with cuda_driver.install():
        seen = recorded(tmp_path, lambda: libcuda.cuMemAlloc_v2(byref(c_void_p()), 1 << 50))

    end = seen.ends(Kind.FOREIGN)[0]
    assert (end.outcome, end.error_type, end.error_text, end.fields["status"]) == (
        Outcome.ERROR, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory", 2,
    )  # fmt: skip


def test_an_unknown_status_is_an_error_by_its_number(tmp_path: Path, libcuda: Any) -> None:
    libcuda.fake_cuFail(b"cuCtxSynchronize", 4321, 1)
    with cuda_driver.install():
        seen = recorded(tmp_path, libcuda.cuCtxSynchronize)

    assert seen.ends(Kind.FOREIGN)[0].error_type == "status 4321"


def test_not_ready_is_an_answer(tmp_path: Path, libcuda: Any) -> None:
    libcuda.fake_cuFail(b"cuCtxSynchronize", 600, 1)
    with cuda_driver.install():
        seen = recorded(tmp_path, libcuda.cuCtxSynchronize)

    assert seen.ends(Kind.FOREIGN)[0].outcome is Outcome.OK


def test_a_launch_tells_its_grid(tmp_path: Path, libcuda: Any) -> None:
    def launch() -> int:
        sizes = [c_uint(size) for size in (64, 2, 1, 256, 1, 1, 48)]
        status: int = libcuda.cuLaunchKernel(c_void_p(16), *sizes, c_void_p(), None, None)
        return status

    with cuda_driver.install():
        line = recorded(tmp_path, launch).lines()[0]

    assert (
        "function=0x10 grid_x=64 grid_y=2 grid_z=1 block_x=256 block_y=1 block_z=1 "
        "shared_bytes=48 stream=0x0"
    ) in line


def test_a_copy_tells_its_bytes(tmp_path: Path, libcuda: Any) -> None:
    address = c_void_p()
    libcuda.cuMemAlloc_v2(byref(address), 64)
    with cuda_driver.install():
        seen = recorded(tmp_path, lambda: libcuda.cuMemcpyHtoD_v2(address, b"x" * 8, c_size_t(8)))

    named = _named(seen.begins(Kind.FOREIGN)[0])
    assert (named["destination"], named["size_bytes"]) == (Pointer(address.value or 0), 8)


def test_questions_are_left_out(tmp_path: Path, libcuda: Any) -> None:
    with cuda_driver.install():
        seen = recorded(tmp_path, lambda: libcuda.cuCtxGetDevice(byref(c_int())))

    assert _names(seen) == []


def test_questions_are_there_where_they_are_wanted(tmp_path: Path, libcuda: Any) -> None:
    with cuda_driver.install(include="cuCtxGet*"):
        seen = recorded(tmp_path, lambda: libcuda.cuCtxGetDevice(byref(c_int())))

    assert _names(seen) == ["cuCtxGetDevice"]


def test_calls_of_this_package_are_never_among_them(tmp_path: Path, libcuda: Any) -> None:
    """GIVEN a backend with a driver of its own, WHEN the preset looks for drivers."""
    ours = LibCuda(libcuda._name)
    with cuda_driver.install(include="*") as installed:
        traced = [handle._lib for handle in installed.libraries]
        seen = recorded(tmp_path, lambda: ours.cuCtxGetDevice(byref(c_int())))

    assert (_names(seen), libcuda in traced, ours._library in traced) == ([], True, False)


def test_installing_twice_adds_what_came_meanwhile(libcuda: Any) -> None:
    count = len(cuda_driver.install().libraries)
    later = ctypes.CDLL(libcuda._name)
    libraries = cuda_driver.install().libraries

    assert (len(libraries), libraries[-1]._lib) == (count + 1, later)


def test_uninstalling_restores_the_functions_and_twice_is_no_error(libcuda: Any) -> None:
    before = type(libcuda.cuInit)
    cuda_driver.install()
    cuda_driver.uninstall()
    cuda_driver.uninstall()

    assert type(libcuda.cuInit) is before


def test_without_a_driver_it_says_what_to_do() -> None:
    done = run_python(
        "from gpu_narration.ffi import cuda_driver; cuda_driver.install()", check=False
    )

    assert "NothingToTraceError: the CUDA driver is not used through ctypes" in done.stderr
    assert "ctypes.CDLL" in done.stderr


def test_the_runtime_tells_its_errors_by_name(tmp_path: Path, libcudart: Any) -> None:
    with cuda_runtime.install():
        seen = recorded(tmp_path, lambda: libcudart.cudaMalloc(byref(c_void_p()), 1 << 40))

    end = seen.ends(Kind.FOREIGN)[0]
    assert (end.error_type, end.error_text) == ("cudaErrorMemoryAllocation", "out of memory")


def test_the_runtime_tells_sizes_and_addresses(tmp_path: Path, libcudart: Any) -> None:
    address = c_void_p()

    def program() -> None:
        libcudart.cudaMalloc(byref(address), 64)
        libcudart.cudaGetDevice(byref(c_int()))
        libcudart.cudaFree(address)

    with cuda_runtime.install():
        seen = recorded(tmp_path, program)

    first, second = seen.begins(Kind.FOREIGN)
    assert (_named(first)["size_bytes"], _named(second)) == (
        64,
        {"address": Pointer(address.value or 0)},
    )


BINDINGS = """
    import sys

    import gpu_narration
    from cuda.bindings import driver
    from cuda.bindings.driver import cuInit as held_elsewhere
    from gpu_narration.ffi import cuda_driver

    before = id(driver.cuMemAlloc)
    installed = cuda_driver.install()
    assert [escaped.place for escaped in installed.escaped] == ["__main__.held_elsewhere"], (
        installed.escaped
    )
    gpu_narration.start(sys.argv[1], backend="none", vram=False, nvtx="off", ring_bytes=1 << 20)
    driver.cuInit(0)
    context = driver.cuDevicePrimaryCtxRetain(0)[1]
    driver.cuCtxSetCurrent(context)
    status, address = driver.cuMemAlloc(bytesize=4096)
    assert status == driver.CUresult.CUDA_SUCCESS, status
    driver.cuMemAlloc(1 << 50)
    driver.cuLaunchKernel(driver.CUfunction(16), 64, 2, 1, 256, 1, 1, 48, driver.CUstream(0), 0, 0)
    driver.cuMemFree(address)
    gpu_narration.stop()
    cuda_driver.uninstall()
    assert id(driver.cuMemAlloc) == before
"""


@pytest.fixture(scope="module")
def through_bindings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, str]:
    """What the real cuda-bindings leave in a trace, and what was said, on the fake driver."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    directory = tmp_path_factory.mktemp("bindings")
    trace = directory / "bindings.gnt"
    done = run_python(
        BINDINGS, str(trace), cwd=directory,
        env={"LD_LIBRARY_PATH": str(fake_cuda().parent), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Seen(Trace(trace)), done.stderr


def test_the_bindings_calls_are_spans(through_bindings: tuple[Seen, str]) -> None:
    assert _names(through_bindings[0]) == [
        "cuInit", "cuDevicePrimaryCtxRetain", "cuMemAlloc", "cuMemAlloc", "cuLaunchKernel",
        "cuMemFree",
    ]  # fmt: skip


def test_the_bindings_errors_have_names(through_bindings: tuple[Seen, str]) -> None:
    failed = [event for event in through_bindings[0].ends(Kind.FOREIGN) if event.error_type]

    assert [(event.names[1], event.error_type) for event in failed] == [
        ("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY")
    ]


def test_the_bindings_arguments_have_names(through_bindings: tuple[Seen, str]) -> None:
    seen = through_bindings[0]
    launch = next(e for e in seen.begins(Kind.FOREIGN) if e.names[1] == "cuLaunchKernel")

    assert "f=0x10 gridDimX=64 gridDimY=2 gridDimZ=1 blockDimX=256" in text.line(launch, {})


def test_an_argument_by_keyword_is_there_by_name(through_bindings: tuple[Seen, str]) -> None:
    allocation = through_bindings[0].begins(Kind.FOREIGN)[2]

    assert allocation.fields == {"bytesize": 4096}


def test_names_that_escaped_are_told_once(through_bindings: tuple[Seen, str]) -> None:
    said = [line for line in through_bindings[1].splitlines() if "[escaped-names]" in line]

    assert len(said) == 1
    assert "__main__.held_elsewhere (cuInit)" in said[0]
