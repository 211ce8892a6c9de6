"""pytest-benchmark: every public call in four states beside what it is compared with.

    python bench/suites.py -k trace_tiny

One round is 1000 calls, so its microseconds are the nanoseconds of one call, the loop
round it included.  `suites.py` attaches the NVTX tool, which must be there before the
process starts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from calls import CASES, NOT_STARTED, STATES, TOOL, WARM_UP, Block, Case, Ruler, States

CALLS = 1_000
ROUNDS = 200


def _run(benchmark: BenchmarkFixture, case: Case, block: Block, call: object) -> None:
    benchmark.group = case.name
    block.run(call, WARM_UP)
    measure: Any = benchmark.pedantic  # untyped
    measure(block.run, args=(call, CALLS), rounds=ROUNDS, warmup_rounds=5)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ours(benchmark: BenchmarkFixture, case: Case, state: str, tmp_path: Path) -> None:
    if state == TOOL and "NVTX_INJECTION64_PATH" not in os.environ:
        pytest.skip("no NVTX tool in the environment: start with `python bench/suites.py`")
    benchmark.name = state
    states = States(tmp_path)
    with states.state(state), case.inside():
        _run(benchmark, case, case.block, case.call)
    assert states.dropped == 0


@pytest.mark.parametrize(
    ("case", "ruler"),
    [
        pytest.param(case, ruler, id=f"{case.name}-{ruler.name}")
        for case in CASES
        for ruler in case.rulers
    ],
)
def test_ruler(benchmark: BenchmarkFixture, case: Case, ruler: Ruler, tmp_path: Path) -> None:
    benchmark.name = f"{ruler.name} [ruler]"
    with States(tmp_path).state(NOT_STARTED), case.inside():
        _run(benchmark, case, ruler.block, ruler.call)
