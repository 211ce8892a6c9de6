"""What a narration with six fields costs, beside trace_tiny and other libraries' events.

    python bench/narrate_cost.py
    python bench/narrate_cost.py --turns 201 --json

Every row tells the same: actor, action, target, a sentence with two values in it, and six
fields.  Ours is redacted and knows its package, source line, span and correlation; the
others format and write what they are given to a file of their own in the same directory.
All are measured in turns in one process; a figure is the median of its ratios, turn by
turn.  structlog and orjson are of the extra `bench`.

Exit status: 0 all within the limits, 1 something past them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import calls
import gate
import gpu_narration
import machine
import peers
import showing
from gate import Unknown
from gpu_narration import _core
from peers import Events, Peer
from turns import Spread, Turns


@contextlib.contextmanager
def narrate(directory: Path) -> Iterator[Events]:
    tell = gpu_narration.narrate

    def events(count: int) -> None:
        for i in range(count):
            tell(
                "scheduler", "dispatch", "job-4711", f"Dispatched job {i} of {count} to gpu0",
                job_id="job-4711", pool_id="default", worker_id="worker-gpu0-r1",
                tokens_in=812, queue_position=i, duration_ms=15.25,
            )  # fmt: skip

    states = calls.States(directory)
    with states.state(calls.RECORDING):
        yield events
    assert states.dropped == 0


@contextlib.contextmanager
def stdlib_logging(directory: Path) -> Iterator[Events]:
    logger = logging.getLogger("narrate_cost")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.FileHandler(str(directory / "logging.log"))
    handler.setFormatter(logging.Formatter(peers.LINE))
    logger.addHandler(handler)

    def events(count: int) -> None:
        for i in range(count):
            logger.info(
                "scheduler dispatch %s Dispatched job %d of %d to gpu0 job_id=%s pool_id=%s "
                "worker_id=%s tokens_in=%d queue_position=%d duration_ms=%s",
                "job-4711", i, count, "job-4711", "default", "worker-gpu0-r1", 812, i, 15.25,
            )  # fmt: skip

    yield events
    logger.removeHandler(handler)
    handler.close()


@contextlib.contextmanager
def structlog(directory: Path) -> Iterator[Events]:
    import orjson
    import structlog as module

    with (directory / "structlog.log").open("wb") as file:
        logger = module.wrap_logger(
            module.BytesLogger(file),
            processors=[
                module.processors.add_log_level,
                module.processors.TimeStamper(fmt="iso", utc=True),
                module.processors.JSONRenderer(serializer=orjson.dumps),
            ],
            wrapper_class=module.make_filtering_bound_logger(logging.INFO),
        )

        def events(count: int) -> None:
            for i in range(count):
                logger.info(
                    "dispatch", actor="scheduler", target="job-4711",
                    human=f"Dispatched job {i} of {count} to gpu0",
                    job_id="job-4711", pool_id="default", worker_id="worker-gpu0-r1",
                    tokens_in=812, queue_position=i, duration_ms=15.25,
                )  # fmt: skip

        yield events


@contextlib.contextmanager
def tiny(_directory: Path) -> Iterator[Events]:
    """In the recording of narrate, since two cannot run at once."""
    trace_tiny = gpu_narration.trace_tiny

    def events(count: int) -> None:
        for i in range(count):
            trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {} of {}", i, 100)

    yield events


NARRATE = Peer("narrate, six fields", "gpu-narration", narrate, "redaction on")
TINY = Peer("trace_tiny, two values", "gpu-narration", tiny)
LOGGING = Peer("stdlib logging, six values", "", stdlib_logging)
STRUCTLOG = Peer("structlog with orjson, six fields", "structlog", structlog)
ROWS = (NARRATE, TINY, LOGGING, STRUCTLOG)

#: Of budgets.toml: what is divided by what.
FIGURES = {
    "narrate_in_tiny": (NARRATE, TINY),
    "narrate_logging": (LOGGING, NARRATE),
    "narrate_structlog": (STRUCTLOG, NARRATE),
}


def measure(directory: Path, turns: int) -> tuple[Turns, dict[str, Spread | Unknown]]:
    """ns of each row, and the figures of budgets.toml."""
    rows, absent = peers.measure(directory, turns, ROWS)
    figures: dict[str, Spread | Unknown] = {}
    for key, (row, ruler) in FIGURES.items():
        reason = absent.get(row.name) or absent.get(ruler.name)
        figures[key] = Unknown(reason) if reason else rows.ratio(row.name, ruler.name)
    return rows, figures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=101, help="how often each row is measured")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows, figures = measure(Path(directory), options.turns)
    budgets = [budget for budget in gate.figure_budgets() if budget.key in FIGURES]
    known = {
        key: figure if isinstance(figure, Unknown) else figure.median
        for key, figure in figures.items()
    }
    verdicts = gate.judge(budgets, known)
    facts = machine.facts(clock=_core.clock_source(), turns=options.turns)
    ns = {peer.name: rows.ns(peer.name) for peer in ROWS if peer.name in rows.rows}
    if options.json:
        print(json.dumps({"machine": facts, "ns": {n: s._asdict() for n, s in ns.items()},
                          "ratios": {v.budget.key: v.figure for v in verdicts}}, indent=2))  # fmt: skip
    else:
        print(machine.line(facts))
        print("medians of all turns, quartiles beside them\n")
        showing.show(("", "ns", "quartiles"), [
            (name, showing.number(s.median), f"{showing.number(s.low)} to {showing.number(s.high)}")
            for name, s in ns.items()
        ])  # fmt: skip
        print()
        showing.show(("", "ratio", "limit", ""), [
            (v.budget.what, "-" if v.figure is None else showing.number(v.figure),
             f"{'≥' if v.budget.at_least else '≤'} {showing.number(v.budget.must)}",
             v.reason or v.outcome.value)
            for v in verdicts
        ])  # fmt: skip
    return int(any(verdict.failed for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
