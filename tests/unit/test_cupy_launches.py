"""``patch_cupy()`` on a CuPy whose kernels run on the simulated GPU: launches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpu_narration import cuda
from gpu_narration._types import Kind
from gpu_narration.cuda import CudaError
from tests.support import fake_cupy
from tests.support.recording import recorded_on_library


def test_a_raw_kernel_records_its_launch_with_shape_and_stream(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy(every=1)
        stream = cupy.cuda.Stream(non_blocking=True)
        saxpy = cupy.RawKernel("31000", "saxpy")
        saxpy((64, 2), (256,), (1,), shared_mem=512, stream=stream)

    seen = recorded_on_library(tmp_path, program)

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

    (event,) = (
        event
        for event in recorded_on_library(tmp_path, program).events
        if event.kind is Kind.LAUNCH
    )

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

    assert "stream=7 device=0" in recorded_on_library(tmp_path, program).lines(Kind.LAUNCH)[0]


def test_a_function_of_a_module_records_its_launches(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        cupy.RawModule(code="1").get_function("f<int>")((1,), (1,), ())

    assert recorded_on_library(tmp_path, program).launched() == ["f<int>"]


def test_a_function_of_a_module_is_a_raw_kernel(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        function = cupy.RawModule(code="1").get_function("f")
        assert isinstance(function, cupy.RawKernel)
        assert isinstance(function, fake_cupy.RawKernel)
        assert (function.name, function.code) == ("f", "1")

    recorded_on_library(tmp_path, program)


def test_a_module_without_the_function_raises_what_cupy_raises(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        with pytest.raises(CudaError, match="cudaErrorInvalidResourceHandle"):
            cupy.RawModule(code="1").get_function("missing")

    assert recorded_on_library(tmp_path, program).launched() == []


def test_elementwise_and_reduction_kernels_record_by_name(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        assert cupy.ElementwiseKernel("T x", "T y", "y = x", "twice")(5) == 5
        assert cupy.ReductionKernel("T x", "T y", name="total")(6, axis=0) == 6

    seen = recorded_on_library(tmp_path, program)

    assert seen.launched() == ["twice", "total"]
    assert not any("grid=" in line for line in seen.lines(Kind.LAUNCH))


def test_one_launch_in_so_many_of_each_kernel_is_timed(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy(every=2)
        one, other = cupy.RawKernel("1000", "one"), cupy.RawKernel("2000", "other")
        for _ in range(3):
            one((1,), (1,), ())
        other((1,), (1,), ())

    learned = [
        answer.get("gpu_ns")
        for answer in recorded_on_library(tmp_path, program).learned(Kind.LAUNCH)
    ]

    assert learned == [1000, None, 1000, 2000]


def test_a_timed_launch_is_compiled_before_its_time_begins(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy(every=1)
        kernel = cupy.RawKernel("1000", "one")
        for _ in range(2):
            kernel((1,), (1,), ())

    assert [
        answer["gpu_ns"] for answer in recorded_on_library(tmp_path, program).learned(Kind.LAUNCH)
    ] == [
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

    learned = recorded_on_library(tmp_path, program).learned(Kind.LAUNCH)

    assert [answer["gpu_ns"] for answer in learned] == [None, 2000, None, 2000]
    assert learned[0]["gpu_reason"] == "compiled inside the launch"


def test_what_fuse_looks_at_is_no_launch(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        twice = cupy.ElementwiseKernel("T x", "T y", "y = x", "twice")
        fake_cupy.fusing.on = True
        assert twice(1) == "a step of a fusion"

    assert recorded_on_library(tmp_path, program).launched() == []


def test_a_source_that_does_not_compile_raises_what_cupy_raises(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        for every in (0, 1):
            cuda.patch_cupy(every=every)
            with pytest.raises(fake_cupy.CompileError, match="broken: no number"):
                cupy.RawKernel("}{", "broken")((1,), (1,), ())

    lines = recorded_on_library(tmp_path, program).lines(Kind.LAUNCH)

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

    assert len(recorded_on_library(tmp_path, program).launched()) == 4


def test_a_kernel_wrapped_by_hand_too_is_one_event(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy(every=1)
        cuda.kernel(cupy.RawKernel("1", "k"), name="mine")((1,), (1,), ())

    assert recorded_on_library(tmp_path, program).launched() == ["mine"]
