"""``cuda.kernel()`` on Triton's kernels: launched as before, and recorded."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from gpu_narration._types import Kind
from gpu_narration.cuda import kernel
from tests.support import fake_libraries
from tests.support.recording import Seen, recorded_on_library


def add(x: Any, y: Any) -> Any:
    """A kernel's body; run, it raises what the library would raise for bad arguments."""
    return x + y


def _seen(directory: Path, program: Any) -> Seen:
    return recorded_on_library(directory, program, streams=1)


def _launches(directory: Path, program: Any) -> list[str]:
    return _seen(directory, program).lines(Kind.LAUNCH)


def test_a_triton_kernel_is_indexed_and_called_as_before(libraries: Any, tmp_path: Path) -> None:
    def program() -> None:
        traced = kernel(fake_libraries.JITFunction(add), every=1)
        for _ in range(2):
            assert traced[(96,)](1, 2, num_warps=8).metadata.num_warps == 8

    seen = _seen(tmp_path, program)

    assert seen.lines(Kind.LAUNCH)[1] == (
        "TRACE cuda launch add grid=96 gpu_ms=0.004 stream=7 device=0 block=256 "
        '"add ran 0.004 ms on gpu0"'
    )
    assert seen.learned(Kind.LAUNCH)[0]["gpu_reason"] == "compiled inside the launch"
    assert seen.learned(Kind.LAUNCH)[1]["shared_bytes"] == 1024


def test_a_triton_grid_may_be_made_of_the_meta_parameters(libraries: Any, tmp_path: Path) -> None:
    def program() -> None:
        traced = kernel(fake_libraries.JITFunction(add))
        traced[lambda meta: (1000 // meta["BLOCK"], 2)](1, 2, BLOCK=100)

    assert _seen(tmp_path, program).learned(Kind.LAUNCH)[0]["grid"] == "10x2"


def test_an_autotuned_triton_kernel_is_one_launch_with_the_last_grid(
    libraries: Any, tmp_path: Path
) -> None:
    def program() -> None:
        traced = kernel(fake_libraries.Autotuner(fake_libraries.JITFunction(add), [10, 50]))
        traced[lambda meta: (1000 // meta["BLOCK"],)](1, 2)

    seen = _seen(tmp_path, program)

    assert [event.names[2] for event in seen.events if event.kind is Kind.LAUNCH] == ["add"]
    assert seen.learned(Kind.LAUNCH)[0]["grid"] == 20


def test_tritons_run_launches_and_a_warm_up_does_not(libraries: Any, tmp_path: Path) -> None:
    def program() -> None:
        traced = kernel(fake_libraries.JITFunction(add))
        traced.run(1, 2, grid=(4,), warmup=True)
        traced.run(1, 2, grid=(4,), warmup=False)

    (line,) = _launches(tmp_path, program)

    assert "grid=4" in line


def test_a_triton_kernel_called_without_a_grid_says_what_triton_says(libraries: Any) -> None:
    with pytest.raises(RuntimeError, match="outside of the scope of a kernel"):
        kernel(fake_libraries.JITFunction(add))(1, 2)


def test_a_triton_grid_that_fails_is_in_the_trace(libraries: Any, tmp_path: Path) -> None:
    def program() -> None:
        with pytest.raises(KeyError, match="BLOCK"):
            kernel(fake_libraries.JITFunction(add))[lambda meta: (meta["BLOCK"],)](1, 2)

    assert "error=\"KeyError: 'BLOCK'\"" in _launches(tmp_path, program)[0]


def test_where_triton_cannot_tell_its_stream_there_is_a_reason(
    libraries: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program() -> None:
        driver = inspect.getmodule(add)  # any module without an attribute "driver"
        traced = kernel(fake_libraries.JITFunction(add), every=1)
        traced.run(1, 2, grid=(1,), warmup=True)
        with monkeypatch.context() as patched:
            patched.setitem(__import__("sys").modules, "triton.runtime.driver", driver)
            patched.setattr(fake_libraries, "triton_stream", lambda: fake_libraries.FIRST)
            traced[(1,)](1, 2)

    assert 'gpu_ms=None gpu_reason="unknown stream"' in _launches(tmp_path, program)[0]
