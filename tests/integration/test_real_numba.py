"""``cuda.kernel()`` round a real Numba kernel, on Numba's own CUDA simulator."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from gpu_narration._types import Kind
from gpu_narration.tracefile import Trace
from gpu_narration.views import text
from tests.support.run import run_python

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="Numba is not installed: pip install numba"
)

START = """
import json
import numpy
from numba import cuda as numba_cuda
import gpu_narration as gn
from gpu_narration import cuda

@cuda.kernel
@numba_cuda.jit
def saxpy(a, x, y):
    i = numba_cuda.grid(1)
    if i < x.size:
        y[i] = a * x[i] + y[i]

gn.start("t.gnt", backend="none", vram=False, children=False)
x, y = numpy.arange(8.0), numpy.ones(8)
"""


def run(directory: Path, body: str, *, simulate: bool = True) -> tuple[object, list[str]]:
    """What the program printed, and the lines of its launches."""
    done = run_python(START + body, cwd=directory, env={"NUMBA_ENABLE_CUDASIM": str(int(simulate))})
    trace = Trace(directory / "t.gnt")
    events = [event for event in trace.events() if event.kind is Kind.LAUNCH]
    return json.loads(done.stdout), [text.line(event, trace.annotations(event)) for event in events]


def test_a_kernel_is_configured_and_called_and_does_its_work(tmp_path: Path) -> None:
    printed, lines = run(
        tmp_path,
        """
saxpy[2, 4](2.0, x, y)
saxpy[(1, 1), 8, 0, 64](2.0, x, y)
print(json.dumps(list(y)))
""",
    )

    assert printed == [1.0 + 4.0 * i for i in range(8)]
    assert lines == [
        (
            f"TRACE cuda launch saxpy grid={grid} block={block} gpu_ms=None "
            'gpu_reason="no GPU: backend none was asked for" "saxpy launched"'
        )
        for grid, block in ((2, 4), (1, 8))
    ]


def test_forall_is_recorded_and_does_its_work(tmp_path: Path) -> None:
    printed, lines = run(tmp_path, "saxpy.forall(8)(2.0, x, y)\nprint(json.dumps(list(y)))\n")

    assert printed == [1.0 + 2.0 * i for i in range(8)]
    assert len(lines) == 1


def test_a_failing_kernel_raises_numbas_error_and_is_in_the_trace(tmp_path: Path) -> None:
    printed, lines = run(
        tmp_path,
        """
try:
    saxpy[1, 1](2.0, None, y)
except AttributeError as error:
    print(json.dumps(type(error).__name__))
""",
    )

    assert printed == "AttributeError"
    assert 'error="AttributeError: ' in lines[0]


def test_attributes_and_names_are_numbas(tmp_path: Path) -> None:
    printed, _ = run(
        tmp_path, "print(json.dumps([saxpy.__name__, saxpy.py_func.__name__, saxpy.extensions]))"
    )

    assert printed == ["saxpy", "saxpy", []]


def test_without_its_simulator_a_launch_raises_numbas_error_and_is_in_the_trace(
    tmp_path: Path,
) -> None:
    """GIVEN Numba's real dispatcher and no GPU, or a GPU: then there is nothing to see."""
    printed, lines = run(
        tmp_path,
        """
from numba.cuda.cudadrv.error import CudaSupportError
try:
    saxpy[2, 4](2.0, 3.0, 4.0)
    print(json.dumps("launched"))
except CudaSupportError as error:
    print(json.dumps(type(error).__name__))
except Exception as error:
    print(json.dumps("launched"))
""",
        simulate=False,
    )

    if printed == "launched":
        pytest.skip("there is a GPU here: the launch does not fail for want of one")
    assert printed == "CudaSupportError"
    assert lines[0].startswith("TRACE cuda launch saxpy grid=2 block=4 ")
    assert 'error="CudaSupportError: ' in lines[0]
