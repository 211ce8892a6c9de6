"""``cuda.kernel()`` on Numba's kernels: launched as before, and recorded."""

from __future__ import annotations

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


def test_a_numba_kernel_is_configured_and_called_as_before(libraries: Any, tmp_path: Path) -> None:
    def program() -> None:
        traced = kernel(fake_libraries.Dispatcher(add), every=1)
        for stream in (0, fake_libraries.NumbaStream(fake_libraries.FIRST)):
            assert traced[(8, 2), 64, stream, 512](1, 2) is None

    assert _launches(tmp_path, program) == [
        (
            'TRACE cuda launch add grid="8x2" block=64 gpu_ms=None gpu_reason="compiled inside '
            'the launch" stream=0 device=0 "add launched on gpu0"'
        ),
        (
            'TRACE cuda launch add grid="8x2" block=64 gpu_ms=0.004 stream=7 device=0 '
            '"add ran 0.004 ms on gpu0"'
        ),
    ]


def test_a_numba_configuration_is_one_kernel_that_may_be_called_often(
    libraries: Any, tmp_path: Path
) -> None:
    def program() -> None:
        configured = kernel(fake_libraries.Dispatcher(add))[8, 64]
        assert configured.griddim == (8, 1, 1)
        for _ in range(3):
            configured(1, 2)

    assert len(_launches(tmp_path, program)) == 3


@pytest.mark.parametrize(
    ("configure", "shape"),
    [
        (lambda traced: traced.configure(8, 64), "grid=8 block=64"),
        (lambda traced: traced.configure(8, blockdim=(4, 4)), 'grid=8 block="4x4"'),
        (lambda traced: traced.forall(1000, tpb=128), "grid=8 block=128"),
        (lambda traced: traced.specialize(1, 2)[8, 64], "grid=8 block=64"),
    ],
)
def test_other_ways_to_configure_a_numba_kernel_are_recorded_too(
    libraries: Any, tmp_path: Path, configure: Any, shape: str
) -> None:
    def program() -> None:
        configure(kernel(fake_libraries.Dispatcher(add)))(1, 2)

    (line,) = _launches(tmp_path, program)

    assert line.startswith(f"TRACE cuda launch add {shape} gpu_ms=None")


def test_where_numba_chooses_the_shape_it_is_not_known(libraries: Any, tmp_path: Path) -> None:
    def program() -> None:
        kernel(fake_libraries.Dispatcher(add)).forall(1000)(1, 2)

    (line,) = _launches(tmp_path, program)

    assert "grid" not in line
    assert "block" not in line


@pytest.mark.parametrize(
    ("misuse", "error", "message"),
    [
        (lambda traced: traced(1, 2), ValueError, "configuration was not specified"),
        (lambda traced: traced[8,], ValueError, "at least the griddim"),
    ],
)
def test_a_numba_kernel_used_wrongly_says_what_numba_says_and_is_no_launch(
    libraries: Any, tmp_path: Path, misuse: Any, error: Any, message: str
) -> None:
    def program() -> None:
        with pytest.raises(error, match=message):
            misuse(kernel(fake_libraries.Dispatcher(add)))

    assert _launches(tmp_path, program) == []


@pytest.mark.parametrize("every", [0, 1])
def test_a_numba_launch_that_fails_is_in_the_trace(
    libraries: Any, tmp_path: Path, every: int
) -> None:
    def program() -> None:
        with pytest.raises(TypeError, match="unsupported operand"):
            kernel(fake_libraries.Dispatcher(add), every=every)[1, 1](1, None)

    (line,) = _launches(tmp_path, program)

    assert 'gpu_ms=None gpu_reason="the launch failed"' in line
    assert "stream=0 device=0" in line
    assert 'error="TypeError: unsupported operand' in line
