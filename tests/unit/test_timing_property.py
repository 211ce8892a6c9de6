"""Any program at all: what is answered is what the simulator's own ledger says.

Round each record of ours an empty launch is put on the same stream: its entry in
the ledger says when the stream reached that place.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_narration.cuda import CudaError, MockBackend, MockGpu, Stream
from gpu_narration.cuda.backend import CaptureStatus
from gpu_narration.cuda.intervals import Interval
from gpu_narration.cuda.mock_graph import MockGraph
from gpu_narration.cuda.timing import Timer
from tests.support.recording import ManualClock

DEVICES = 2
#: Of each device: the legacy default stream, a blocking one, two that are not.
STREAMS = 4 * DEVICES

_INDEX = st.integers(0, STREAMS - 1)
_LENGTH = st.one_of(st.integers(0, 50_000), st.integers(0, 9_000_000_000))
_STEP = st.one_of(
    st.tuples(st.just("launch"), _INDEX, _LENGTH),
    st.tuples(st.just("open"), _INDEX, st.just(0)),
    st.tuples(st.just("close"), st.integers(0, 50), st.just(0)),
    st.tuples(st.just("wait"), _INDEX, st.integers(0, STREAMS - 1)),
    st.tuples(st.just("begin_capture"), _INDEX, st.just(0)),
    st.tuples(st.just("end_capture"), _INDEX, st.just(0)),
    st.tuples(st.just("invalidate"), _INDEX, st.just(0)),
    st.tuples(st.just("graph"), _INDEX, st.integers(0, 5)),
    st.tuples(st.just("sleep"), st.just(0), _LENGTH),
    st.tuples(st.just("poll"), st.just(0), st.just(0)),
    st.tuples(st.just("watch"), st.integers(1, 12), st.just(0)),
)
Program = list[tuple[str, int, int]]
PROGRAMS = st.lists(_STEP, max_size=80)

_REASONS = {
    (CaptureStatus.ACTIVE, False): "stream capture",
    (CaptureStatus.ACTIVE, True): "capture began inside the span",
    (CaptureStatus.INVALIDATED, False): "stream capture was invalidated",
    (CaptureStatus.INVALIDATED, True): "stream capture was invalidated",
}


@dataclass
class _Open:
    interval: Interval
    begin_ns: int


class Machine:
    """Runs a program, and keeps what the ledger says should be answered."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.gpu = MockGpu(devices=DEVICES, clock=self.clock)
        self.backend = MockBackend(self.gpu)
        self.answers: list[tuple[int, dict[str, object]]] = []
        self.timer = Timer(
            self.backend,
            lambda event_id, fields: self.answers.append((event_id, fields)),
            clock=self.clock,
        )
        self.streams: list[Stream] = []
        for device in range(DEVICES):
            self.streams += [
                self.gpu.default_stream(device),
                self.gpu.stream(device, blocking=True),
                self.gpu.stream(device),
                self.gpu.stream(device),
            ]
        self.opened: list[_Open] = []
        self.graphs: list[MockGraph] = []
        #: By event id: (begin, end) in ns, or the reason.
        self.expected: dict[int, tuple[int, int] | str] = {}
        self.count = 0

    def run(self, program: Program) -> None:
        for name, which, amount in program:
            with contextlib.suppress(CudaError):  # what a program does wrong is its own
                getattr(self, name)(which, amount)
        while self.opened:
            self.close(0, 0)
        self.clock.step(10**13)
        self.timer.poll()

    def launch(self, which: int, length_ns: int) -> None:
        self.gpu.launch("work", length_ns, self.streams[which])

    def open(self, which: int, _: int) -> None:
        stream, event_id = self.streams[which], self.count
        self.count += 1
        status = self.gpu.capture_status(stream)
        begin_ns = self._reached(stream) if status is CaptureStatus.NONE else 0
        interval = self.timer.open(event_id, stream)
        if status is not CaptureStatus.NONE:
            self.expected[event_id] = _REASONS[status, False]
        elif interval is not None:
            self.opened.append(_Open(interval, begin_ns))

    def close(self, which: int, _: int) -> None:
        if not self.opened:
            return
        mine = self.opened.pop(which % len(self.opened))
        stream, event_id = mine.interval.stream, mine.interval.event_id
        status = self.gpu.capture_status(stream)
        if status is CaptureStatus.NONE:
            self.expected[event_id] = mine.begin_ns, self._reached(stream)
        else:
            self.expected[event_id] = _REASONS[status, True]
        self.timer.close(mine.interval)

    def wait(self, which: int, other: int) -> None:
        event = self.gpu.event_create(self.streams[other].device)
        self.gpu.event_record(event, self.streams[other])
        self.gpu.wait_event(self.streams[which], event)

    def begin_capture(self, which: int, _: int) -> None:
        self.gpu.begin_capture(self.streams[which])

    def end_capture(self, which: int, _: int) -> None:
        self.graphs.append(self.gpu.end_capture(self.streams[which]))

    def invalidate(self, which: int, _: int) -> None:
        self.gpu.invalidate_capture(self.streams[which])

    def graph(self, which: int, number: int) -> None:
        if self.graphs:
            self.gpu.graph_launch(self.graphs[number % len(self.graphs)], self.streams[which])

    def sleep(self, _: int, length_ns: int) -> None:
        self.clock.step(length_ns)

    def poll(self, *_: int) -> None:
        self.timer.poll()

    def watch(self, seconds: int, _: int) -> None:
        """The watcher comes every second, as it does while work runs long."""
        for _second in range(seconds):
            self.clock.step(1_000_000_000)
            self.timer.poll()

    def _reached(self, stream: Stream) -> int:
        self.gpu.launch("here", 0, stream)
        return self.gpu.ledger[-1].end_ns


@settings(max_examples=400, deadline=None)
@given(PROGRAMS)
def test_elapsed_times_are_those_of_the_ledger(program: Program) -> None:
    machine = Machine()
    machine.run(program)

    expected = {
        event_id: None if isinstance(said, str) else said[1] - said[0]
        for event_id, said in machine.expected.items()
    }
    assert {event_id: fields["gpu_ns"] for event_id, fields in machine.answers} == expected


@settings(max_examples=200, deadline=None)
@given(PROGRAMS)
def test_abstentions_are_where_a_capture_was_and_nowhere_else(program: Program) -> None:
    machine = Machine()
    machine.run(program)

    expected = {key: said for key, said in machine.expected.items() if isinstance(said, str)}
    reasons = {
        key: fields["gpu_reason"] for key, fields in machine.answers if "gpu_reason" in fields
    }
    assert reasons == expected


@settings(max_examples=200, deadline=None)
@given(PROGRAMS)
def test_nothing_is_lost_and_nothing_answered_twice(program: Program) -> None:
    machine = Machine()
    machine.run(program)

    assert sorted(event_id for event_id, _ in machine.answers) == list(range(machine.count))


@settings(max_examples=200, deadline=None)
@given(PROGRAMS)
def test_every_place_is_within_its_stated_bound(program: Program) -> None:
    machine = Machine()
    machine.run(program)

    wrong = []
    for event_id, fields in machine.answers:
        said, bound = machine.expected[event_id], fields.get("gpu_place_error_ns")
        if isinstance(bound, int) and isinstance(said, tuple):
            begin, end = fields["gpu_start_ns"], fields["gpu_end_ns"]
            assert isinstance(begin, int)
            assert isinstance(end, int)
            if max(abs(begin - said[0]), abs(end - said[1])) > bound:
                wrong.append((event_id, said, fields))
    assert wrong == []


@settings(max_examples=200, deadline=None)
@given(PROGRAMS)
def test_the_pools_are_balanced_at_the_end(program: Program) -> None:
    machine = Machine()
    machine.run(program)

    pools = [home.pool for home in machine.timer._homes.values()]
    assert [pool.made - pool.idle for pool in pools] == [0] * len(pools)


@settings(max_examples=200, deadline=None)
@given(PROGRAMS)
def test_no_event_of_ours_gets_into_a_graph(program: Program) -> None:
    """GIVEN a program that records no event of its own, THEN its graphs hold no record."""
    machine = Machine()
    machine.run([step for step in program if step[0] != "wait"])

    assert [graph.records for graph in machine.graphs] == [0] * len(machine.graphs)


@settings(max_examples=100, deadline=None)
@given(PROGRAMS)
def test_timing_does_not_change_what_runs_when(program: Program) -> None:
    """GIVEN streams that wait for nobody, THEN the ledger is the same with nothing timed."""
    own = [(name, 2 + which % 2, amount) for name, which, amount in program if name != "close"]
    timed, untimed = Machine(), Machine()
    timed.run(own)
    untimed.run([step for step in own if step[0] not in ("open", "poll")])

    def work(machine: Machine) -> list[tuple[str, int, int]]:
        return [
            (ran.name, ran.start_ns, ran.end_ns) for ran in machine.gpu.ledger if ran.name != "here"
        ]

    assert work(timed) == work(untimed)
