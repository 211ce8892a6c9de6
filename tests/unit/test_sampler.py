"""The sampler by itself: what it reads when, whom it answers, what it leaves alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_narration.cuda.backend import Device, MemoryInfo
from gpu_narration.cuda.nvml import NvmlUnavailable
from gpu_narration.cuda.pace import FAST_S, SLOW_S
from gpu_narration.cuda.telling import NO_ANSWER, WAITING_MAX
from gpu_narration.cuda.vram import RETRY_MAX_NS, RETRY_NS, Answer, Sampler
from tests.support.recording import ManualClock, recorded

GIB, MIB = 1 << 30, 1 << 20
MS, SECOND = 1_000_000, 1_000_000_000


class Machine:
    """Devices whose memory a test sets, and whose readings take virtual time."""

    def __init__(self, devices: int = 1, call_ns: int = 10_000) -> None:
        self.clock = ManualClock()
        self.used = [GIB] * devices
        self.broken: set[int] = set()
        self.readings: list[int] = []
        self.wakes = 0
        self._call_ns = call_ns
        self.sampler = Sampler(
            [Device(place, f"GPU-{place}", "", "Fake GPU") for place in range(devices)],
            self._read,
            wake=self._wake,
            clock=self.clock,
        )

    def _read(self, place: int) -> MemoryInfo:
        self.readings.append(place)
        self.clock.step(self._call_ns)
        if place in self.broken:
            raise NvmlUnavailable("GpuIsLost: GPU is lost")
        used = self.used[place]
        return MemoryInfo(80 * GIB, used, 80 * GIB - used, 0, "exact")

    def _wake(self) -> None:
        self.wakes += 1

    def run(self, seconds: float) -> list[float]:
        """Polls as the watcher does, for so long; the pauses."""
        pauses: list[float] = []
        end_ns = self.clock() + round(seconds * SECOND)
        while self.clock() < end_ns:
            pauses.append(self.sampler.poll())
            self.clock.step(max(1 * MS, round(pauses[-1] * SECOND)))
        return pauses

    def rest(self) -> None:
        self.run(5.0)
        self.readings.clear()


def _answers(machine: Machine, device: int = 0) -> list[Answer]:
    answers: list[Answer] = []
    machine.sampler.ask(device, answers.append)
    return answers


# ---- pace ----


def test_at_rest_a_device_is_read_once_a_second() -> None:
    machine = Machine()
    machine.rest()

    machine.run(10.0)

    assert len(machine.readings) in (10, 11)


def test_while_memory_moves_it_is_read_fifty_times_a_second() -> None:
    machine = Machine()
    machine.rest()
    pauses = []
    for _ in range(50):
        machine.used[0] += 16 * MIB
        pauses.append(machine.sampler.poll())
        machine.clock.step(round(pauses[-1] * SECOND))

    assert pauses == [pytest.approx(FAST_S)] * 50


def test_sixteen_devices_share_one_waking() -> None:
    machine = Machine(devices=16)
    machine.rest()

    pause_s = machine.sampler.poll()

    assert machine.readings == list(range(16))
    assert pause_s == pytest.approx(SLOW_S)


def test_woken_together_with_another_job_it_takes_the_opportunity() -> None:
    """GIVEN a pause of a second WHEN polled after 0.6 of it THEN memory is read then."""
    machine = Machine()
    machine.rest()
    machine.sampler.poll()
    machine.readings.clear()

    machine.clock.step(600 * MS)
    machine.sampler.poll()

    assert machine.readings == [0]


def test_woken_much_too_early_it_reads_nothing() -> None:
    machine = Machine()
    machine.rest()
    machine.sampler.poll()
    machine.readings.clear()

    machine.clock.step(300 * MS)
    pause_s = machine.sampler.poll()

    assert machine.readings == []
    assert pause_s == pytest.approx(SLOW_S - 0.3)


# ---- slow calls ----


def test_between_slow_readings_other_jobs_get_their_turns() -> None:
    """GIVEN 16 devices of 50 ms a call WHEN polled THEN one device a turn, and on at once."""
    machine = Machine(devices=16, call_ns=50 * MS)

    pauses = [machine.sampler.poll() for _ in range(16)]

    assert machine.readings == list(range(16))
    assert pauses[:-1] == [0.0] * 15


def test_slow_readings_take_a_twentieth_of_the_time_at_most() -> None:
    machine = Machine(call_ns=50 * MS)
    for _ in range(10):
        machine.used[0] += 16 * MIB
        pause_s = machine.sampler.poll()
        machine.clock.step(round(pause_s * SECOND))

    assert pause_s == pytest.approx(1.0)


# ---- questions ----


def test_a_question_is_answered_by_the_next_poll() -> None:
    machine = Machine()
    machine.rest()
    machine.sampler.poll()
    machine.used[0] = 2 * GIB

    answers = _answers(machine)
    machine.sampler.poll()

    assert [answer.used_bytes for answer in answers if isinstance(answer, MemoryInfo)] == [2 * GIB]
    assert machine.wakes == 1


def test_a_question_reads_only_the_device_it_is_about() -> None:
    machine = Machine(devices=16)
    machine.rest()
    machine.sampler.poll()
    machine.readings.clear()

    _answers(machine, 11)
    machine.sampler.poll()

    assert machine.readings == [11]


def test_questions_that_wait_together_are_answered_by_one_reading() -> None:
    machine = Machine()
    machine.rest()
    machine.sampler.poll()
    machine.readings.clear()

    answers = [_answers(machine) for _ in range(5)]
    machine.sampler.poll()

    assert machine.readings == [0]
    assert len({id(answer[0]) for answer in answers}) == 1


def test_a_question_about_a_lost_device_is_answered_with_the_reason_and_no_call() -> None:
    machine = Machine()
    machine.broken.add(0)
    machine.sampler.poll()
    machine.readings.clear()

    answers = _answers(machine)
    machine.sampler.poll()

    assert answers == ["GpuIsLost: GPU is lost"]
    assert machine.readings == []


def test_a_question_about_a_device_that_is_none_is_answered_at_once() -> None:
    assert _answers(Machine(), 7) == ["no device 7 is watched"]


def test_questions_that_nobody_answers_do_not_pile_up() -> None:
    """GIVEN a driver that hangs WHEN questions come for ever THEN those past a bound are answered."""
    machine = Machine()

    answers = [_answers(machine) for _ in range(WAITING_MAX + 2)]

    assert [answer for answer in answers if answer] == [[NO_ANSWER]] * 2


def test_what_waits_at_the_end_is_answered() -> None:
    machine = Machine()
    answers = _answers(machine)

    machine.sampler.close()

    assert answers == [NO_ANSWER]


def test_after_the_end_a_question_is_answered_at_once() -> None:
    machine = Machine()
    machine.sampler.close()

    assert _answers(machine) == [NO_ANSWER]


# ---- the end ----


def test_the_last_round_reads_every_device_however_little_is_due() -> None:
    machine = Machine(devices=3)
    machine.rest()
    machine.sampler.poll()
    machine.readings.clear()
    machine.sampler._wake = lambda: machine.sampler.poll() and None

    assert machine.sampler.finish(0.0) is True
    assert machine.readings == [0, 1, 2]


def test_a_sampler_that_hangs_is_not_waited_for() -> None:
    assert Machine().sampler.finish(0.0) is False


# ---- devices that go ----


def test_a_lost_device_is_tried_again_after_pauses_that_double_up_to_a_bound() -> None:
    machine = Machine(devices=2)
    machine.rest()
    machine.broken.add(0)
    tried: list[int] = []
    for _ in range(60):
        machine.readings.clear()
        machine.sampler.poll()
        if 0 in machine.readings:
            tried.append(machine.clock())
        machine.clock.step(1 * SECOND)

    pauses_s = [round((after - before) / SECOND) for before, after in itertools.pairwise(tried)]
    assert pauses_s[0] == pytest.approx(RETRY_NS / SECOND, abs=1)
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == pytest.approx(RETRY_MAX_NS / SECOND, abs=1)


def test_a_device_that_comes_back_starts_with_the_shortest_pause_again() -> None:
    machine = Machine(devices=2)
    machine.broken.add(0)
    machine.run(30.0)
    machine.broken.clear()
    machine.run(10.0)
    machine.broken.add(0)
    machine.run(1.5)
    machine.broken.clear()
    machine.readings.clear()

    machine.run(3.0)

    assert 0 in machine.readings


# ---- records ----


def _moves(directory: Path, program: Callable[[Machine], None]) -> list[tuple[object, object]]:
    seen = recorded(directory, lambda: program(Machine()))
    return [(e.fields["before_bytes"], e.fields["used_bytes"]) for e in seen.events]


def test_a_peak_between_two_rounds_that_a_question_saw_is_in_the_record(tmp_path: Path) -> None:
    """GIVEN a rise below the threshold that only a question saw WHEN told THEN it is the peak."""

    def program() -> None:
        machine = Machine()
        machine.sampler.poll()
        machine.used[0] = GIB + 9 * MIB
        _answers(machine)
        machine.sampler.poll()
        machine.used[0] = GIB - 20 * MIB
        machine.run(2.0)

    seen = recorded(tmp_path, program)

    assert [event.fields["peak_bytes"] for event in seen.events] == [GIB, GIB + 9 * MIB]


def test_readings_of_another_source_do_not_enter_the_series(tmp_path: Path) -> None:
    """GIVEN a sampled reading WHEN the series is of exact ones THEN it is left out."""

    def program(machine: Machine) -> None:
        machine.sampler.poll()
        machine.sampler.observe(0, MemoryInfo(80 * GIB, 9 * GIB, 71 * GIB, None, "sampled"), 0)
        machine.sampler.observe(0, MemoryInfo(80 * GIB, 2 * GIB, 78 * GIB, None, "exact"), 0)

    assert _moves(tmp_path, program) == [(None, GIB), (GIB, 2 * GIB)]


def test_after_the_end_nothing_is_told(tmp_path: Path) -> None:
    def program(machine: Machine) -> None:
        machine.sampler.poll()
        machine.sampler.close()
        machine.used[0] = 5 * GIB
        machine.run(2.0)

    assert _moves(tmp_path, program) == [(None, GIB)]
