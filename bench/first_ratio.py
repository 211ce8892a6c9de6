"""What a light event costs, as a ratio to an empty C call with the same arguments.

All rows are measured in turns in one run, so a machine whose speed drifts moves
them together; the figure to quote is the median of the ratios, turn by turn.

    python bench/first_ratio.py
    python bench/first_ratio.py --turns 41 --json
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gpu_narration
from gpu_narration import _core

CALLS = 50_000


def loop(call: Callable[..., object], count: int = CALLS) -> float:
    """Mean ns of one call with four constant strings and two ints, loop included."""
    begin = time.perf_counter_ns()
    for i in range(count):
        call("tokenizer", "decode", "token_{}", "Decoding token {} of {}", i, 100)
    return (time.perf_counter_ns() - begin) / count


def bare_loop(count: int = CALLS) -> float:
    """The loop alone, with its range."""
    begin = time.perf_counter_ns()
    for _ in range(count):
        pass
    return (time.perf_counter_ns() - begin) / count


def empty_python(*_args: object) -> None:
    """What a Python function costs that does nothing."""


def measure(turns: int) -> dict[str, list[float]]:
    """ns per call of each row, one figure a turn, the bare loop taken off."""
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        logger = logging.getLogger("bench")
        logger.propagate = False
        handler = logging.FileHandler(Path(directory) / "log.txt")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)

        def log(*args: object) -> None:
            logger.debug("%s %s token_%s: decoding token %s of %s", *args[:2], args[4], *args[4:])

        for turn in range(turns):
            base = bare_loop()

            def add(name: str, ns: float, base: float = base) -> None:
                rows.setdefault(name, []).append(ns - base)

            add("empty C call", loop(_core.nothing))
            add("empty Python call", loop(empty_python))
            add("trace_tiny, not started", loop(gpu_narration.trace_tiny))
            with gpu_narration.start(
                f"{directory}/{turn}", backend="none", vram=False, nvtx="off", children=False
            ) as recorder:
                loop(gpu_narration.trace_tiny, 1000)
                add("trace_tiny, recording", loop(gpu_narration.trace_tiny))
                add("empty C call, recording", loop(_core.nothing))
                gpu_narration.set_filter("off")
                loop(gpu_narration.trace_tiny, 10)
                add("trace_tiny, filtered off", loop(gpu_narration.trace_tiny))
            assert recorder.stats()["dropped"] == 0
            add("logging to a file", loop(log, CALLS // 50))
        handler.close()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=21, help="how often each row is measured")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    rows = measure(options.turns)
    ruler = rows["empty C call"]
    report = {
        name: {
            "median_ns": round(statistics.median(values), 1),
            "median_ratio": round(
                statistics.median(value / one for value, one in zip(values, ruler, strict=True)), 2
            ),
        }
        for name, values in rows.items()
    }
    machine = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "clock": _core.clock_source(),
        "gpu_narration": gpu_narration.__version__,
        "turns": options.turns,
        "calls_a_turn": CALLS,
    }
    if options.json:
        print(json.dumps({"machine": machine, "rows": report}, indent=2))
        return 0
    print("  ".join(f"{key}: {value}" for key, value in machine.items()))
    print(f"{'':28}{'median ns':>12}{'ratio':>9}")
    for name, row in report.items():
        print(f"{name:28}{row['median_ns']:12.1f}{row['median_ratio']:9.2f}")
    return 0


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")


if __name__ == "__main__":
    sys.exit(main())
