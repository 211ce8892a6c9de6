"""One event of the same content in this and in other libraries, side by side.

    python bench/peers.py
    python bench/peers.py --turns 101 --json

The event: actor `tokenizer`, action `decode`, a target with a value, a sentence with
two values.  Each library is used as its manual says for speed, and each writes to a
file of its own in the same directory or, where it has no file, keeps what it got in
memory.  All of them are measured in turns in one process.  The packages are those of
the extra `bench`; one that is not here is named with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import calls
import gpu_narration
import machine
import showing
from calls import Block
from gpu_narration import _core
from turns import Turns, undisturbed

#: Makes that many events.
Events = Callable[[int], None]

#: ns a block should take: long against the clock's step, short against the scheduler's.
BLOCK_NS = 500_000


@dataclass(frozen=True, slots=True)
class Peer:
    """A library; `events` sets it up in a directory and gives the loop that makes events."""

    name: str
    package: str
    events: Callable[[Path], AbstractContextManager[Events]]
    #: What a reader of the figure must know.
    note: str = ""


@contextlib.contextmanager
def ours(directory: Path) -> Iterator[Events]:
    trace_tiny = gpu_narration.trace_tiny

    def events(count: int) -> None:
        for i in range(count):
            trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {} of {}", i, 100)

    states = calls.States(directory)
    with states.state(calls.RECORDING):
        yield events
    assert states.dropped == 0


@contextlib.contextmanager
def nvtx_mark(_directory: Path) -> Iterator[Events]:
    import nvtx

    domain = nvtx.get_domain("tokenizer")

    def events(count: int) -> None:
        for i in range(count):
            domain.mark(domain.get_event_attributes("decode", category="token", payload=i))

    yield events


@contextlib.contextmanager
def nvtx_annotate(_directory: Path) -> Iterator[Events]:
    import nvtx

    def events(count: int) -> None:
        for i in range(count):
            with nvtx.annotate("decode", domain="tokenizer", category="token", payload=i):
                pass

    yield events


@contextlib.contextmanager
def viztracer(_directory: Path) -> Iterator[Events]:
    from viztracer import VizTracer

    tracer = VizTracer(verbose=0, tracer_entries=200_000)
    # Paused, it keeps events but traces no functions: the cheaper of its two states.
    tracer.start()
    tracer.pause()

    def events(count: int) -> None:
        for i in range(count):
            tracer.log_instant("tokenizer decode", {"token": i, "of": 100})

    yield events
    tracer.stop()
    tracer.clear()


LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"


def _logging(module: Any, directory: Path) -> tuple[Any, Events]:
    """stdlib logging, or what has its interface."""
    logger = module.getLogger("tokenizer")
    logger.propagate = False
    handler = module.FileHandler(str(directory / f"{module.__name__}.log"))
    handler.setFormatter(module.Formatter(LINE))
    logger.addHandler(handler)
    logger.setLevel(module.DEBUG)

    def events(count: int) -> None:
        for i in range(count):
            logger.debug("decode token_%d Decoding token %d of %d", i, i, 100)

    return handler, events


@contextlib.contextmanager
def stdlib_logging(directory: Path) -> Iterator[Events]:
    import logging

    handler, events = _logging(logging, directory)
    yield events
    logging.getLogger("tokenizer").removeHandler(handler)
    handler.close()


@contextlib.contextmanager
def picologging(directory: Path) -> Iterator[Events]:
    import picologging as module

    handler, events = _logging(module, directory)
    yield events
    handler.close()


@contextlib.contextmanager
def structlog(directory: Path) -> Iterator[Events]:
    import logging

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
            wrapper_class=module.make_filtering_bound_logger(logging.DEBUG),
        ).bind(actor="tokenizer")

        def events(count: int) -> None:
            for i in range(count):
                logger.debug("decode", token=i, human=f"Decoding token {i} of {100}")

        yield events


@contextlib.contextmanager
def loguru(directory: Path) -> Iterator[Events]:
    from loguru import logger

    logger.remove()
    sink = logger.add(directory / "loguru.log", format="{time} {level} {name} {message}")

    def events(count: int) -> None:
        for i in range(count):
            logger.debug("decode token_{} Decoding token {} of {}", i, i, 100)

    yield events
    logger.remove(sink)


@contextlib.contextmanager
def opentelemetry(_directory: Path) -> Iterator[Events]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Counting(SpanExporter):
        """Throws the spans away."""

        exported = 0

        def export(self, spans: Any) -> SpanExportResult:
            self.exported += len(spans)
            return SpanExportResult.SUCCESS

    exporter = Counting()
    provider = TracerProvider(shutdown_on_exit=False)
    # A queue of the default length drops spans at this pace, which would be cheaper.
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=1 << 18))
    tracer = provider.get_tracer("tokenizer")
    made = 0

    def events(count: int) -> None:
        nonlocal made
        made += count
        for i in range(count):
            with tracer.start_as_current_span(
                "decode", attributes={"token": i, "human": f"Decoding token {i} of {100}"}
            ):
                pass

    yield events
    provider.shutdown()
    assert exporter.exported == made, f"{made - exporter.exported} of {made} spans were lost"


OURS = Peer("gpu_narration trace_tiny", "gpu-narration", ours)
VIZTRACER = Peer(
    "VizTracer log_instant", "viztracer", viztracer, "keeps events in memory; functions not traced"
)
LOGGING = Peer("stdlib logging", "", stdlib_logging)
PEERS = (
    OURS,
    Peer("nvtx mark", "nvtx", nvtx_mark, "no tool attached: nothing is kept"),
    Peer("nvtx annotate, with", "nvtx", nvtx_annotate, "no tool attached: nothing is kept"),
    VIZTRACER,
    Peer("picologging", "picologging", picologging),
    LOGGING,
    Peer("structlog, orjson", "structlog", structlog),
    Peer("loguru", "loguru", loguru),
    Peer(
        "OpenTelemetry span", "opentelemetry-sdk", opentelemetry, "batch to an exporter of nothing"
    ),
)


def measure(
    directory: Path, turns: int, peers: tuple[Peer, ...] = PEERS
) -> tuple[Turns, dict[str, str]]:
    """ns per event of each peer, and why others could not be measured."""
    rows = Turns()
    absent: dict[str, str] = {}
    loops: dict[str, tuple[Block, int]] = {}
    with ExitStack() as stack, undisturbed():
        for peer in peers:
            try:
                events = stack.enter_context(peer.events(directory))
            except ImportError as error:
                absent[peer.name] = f"not measured: {error}; pip install '.[bench]'"
                continue
            loops[peer.name] = _loop(events)
        for _ in range(turns):
            for name, (block, count) in loops.items():
                rows.measure(name, block, None, count)
    return rows, absent


def _loop(events: Events) -> tuple[Block, int]:
    """The loop of a peer, warmed up, and how many events a turn has."""
    block = Block(lambda _call, count: events(count), calls.bare)
    events(200)
    probe = Turns()
    for _ in range(3):
        probe.measure("probe", block, None, 200)
    return block, max(20, min(calls.BLOCK, int(BLOCK_NS / probe.ns("probe").median)))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=61, help="how often each row is measured")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows, absent = measure(Path(directory), options.turns)
    report = []
    for peer in PEERS:
        version = machine.version(peer.package) if peer.package else machine.facts()["python"]
        entry: dict[str, Any] = {"name": peer.name, "version": version, "note": peer.note}
        if peer.name in absent:
            entry |= {"ns": None, "ratio": None, "note": absent[peer.name]}
        else:
            entry |= {
                "ns": round(rows.ns(peer.name).median, 1),
                "ratio": round(rows.ratio(peer.name, OURS.name).median, 2),
            }
        report.append(entry)
    facts = machine.facts(clock=_core.clock_source(), turns=options.turns)
    if options.json:
        print(json.dumps({"machine": facts, "peers": report}, indent=2))
        return 0
    print(machine.line(facts))
    print("ns of one event, and how many of ours that is; medians of all turns\n")
    showing.show(
        ("", "version", "ns", "of ours", ""),
        [
            (
                e["name"],
                e["version"],
                showing.number(e["ns"]),
                showing.number(e["ratio"]),
                e["note"],
            )
            for e in report
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
