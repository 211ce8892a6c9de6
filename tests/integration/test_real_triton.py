"""``cuda.kernel()`` round real Triton functions, in Triton's own interpreter."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path

import pytest

from gpu_narration._types import Kind
from gpu_narration.tracefile import Trace
from gpu_narration.views import text
from tests.support.run import run_python

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: pip install triton"
)

PROGRAM = """
import gpu_narration as gn
from gpu_narration import cuda
import triton
import triton.language as tl

@cuda.kernel
@triton.jit
def count(n, BLOCK: tl.constexpr):
    tl.program_id(0) * BLOCK + n

gn.start("t.gnt", backend="none", vram=False, children=False)
"""
NO_GPU = 'gpu_ms=None gpu_reason="no GPU: backend none was asked for"'


@pytest.mark.parametrize(
    ("launch", "line"),
    [
        ("count[(4, 2)](3, BLOCK=8)", f'grid="4x2" {NO_GPU} "count launched"'),
        ("count[lambda meta: (meta['BLOCK'],)](3, BLOCK=8)", f'{NO_GPU} grid=8 "count launched"'),
        (
            """
            tuned = triton.heuristics({"BLOCK": lambda args: 16})(count.__wrapped__)
            cuda.kernel(tuned)[lambda meta: (meta["BLOCK"],)](3)
            """,
            f'{NO_GPU} grid=16 "count launched"',
        ),
        (
            """
            try:
                count[(1,)](3)
            except TypeError:
                pass
            """,
            (
                'grid=1 gpu_ms=None gpu_reason="the launch failed" error="TypeError: count() missing 1 '
                'required positional argument: \'BLOCK\'" "count failed to launch"'
            ),
        ),
    ],
)
def test_a_triton_kernel_is_launched_as_before(tmp_path: Path, launch: str, line: str) -> None:
    # Triton reads the source of its kernels, so the program must be a file.
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + textwrap.dedent(launch) + "\n")
    run_python(program, cwd=tmp_path, env={"TRITON_INTERPRET": "1"})
    trace = Trace(tmp_path / "t.gnt")
    (event,) = (event for event in trace.events() if event.kind is Kind.LAUNCH)

    assert text.line(event, trace.annotations(event)) == f"TRACE cuda launch count {line}"
