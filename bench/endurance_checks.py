"""What an endurance run left in its trace, read back and compared with what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpu_narration import NotATraceError
from gpu_narration.tracefile import Trace, Trouble, count_events
from gpu_narration.tracefile import format as fmt
from gpu_narration.tracefile.trace import ProcessTrace

#: What may be said of a trace whose process was killed.
AFTER_A_KILL = {Trouble.DIED, Trouble.TORN_TAIL}


@dataclass
class Counted:
    """An exact count: what is in the files, and what is not but should be."""

    events: int = 0
    missing: int = 0
    damaged_bytes: int = 0
    notices: list[str] = field(default_factory=list)


def counted(trace: Trace) -> Counted:
    """All events of a trace, by walking every record."""
    total = Counted()
    for count in count_events(trace):
        total.events += count.events
        total.missing += count.missing + count.dropped
        total.damaged_bytes += count.damaged_bytes
    total.notices = [notice.text for notice in trace.notices()]
    return total


def wrong_in_sample(trace: Trace, chunks: int) -> tuple[int, int]:
    """Decodes some whole chunks of a recording by one thread, evenly taken, whose n-th event
    has n as its first value: how many events were looked at, and how many were wrong.
    """
    (process,) = trace.processes
    found = [
        fragment
        for fragments in process.fragments.values()
        for fragment in fragments
        if fragment.offset == 0 and len(fragment) > 0
    ]
    looked = wrong = 0
    for fragment in found[:: max(1, len(found) // chunks)]:
        for event in process.decoder.events(fragment.load()):
            looked += 1
            wrong += event.arguments[0].value != event.seq or event.names[1] != "decode"
    return looked, wrong


def _numbers(process: ProcessTrace, thread: int) -> Iterator[tuple[object, ...]]:
    """The last three values of each event of a thread, in their order: before them stand
    those names of the first events that were not known as constants yet.
    """
    for reference in process.fragments[thread]:
        data, position = reference.load().data, 0
        while position < len(data):
            delta, site, size = fmt.RECORD_HEAD.unpack_from(data, position)
            at = position + fmt.RECORD_HEAD.size + (8 if delta == fmt.DELTA_WIDE else 0)
            position += size
            if site < fmt.SYS_STATE:
                yield tuple(fmt.decode_values(data, at, position).items[-3:])


@dataclass
class Order:
    """What is wrong with the events of threads that each counted for themselves."""

    threads: int = 0
    events: int = 0
    out_of_order: int = 0
    wrong_totals: list[str] = field(default_factory=list)


def order_of_threads(trace: Trace, planned: dict[tuple[int, int], int]) -> Order:
    """Checks that each thread's events are (lane, generation, 0), (lane, generation, 1), …
    and that each planned thread made as many as it should.
    """
    order = Order()
    found: dict[tuple[object, object], int] = {}
    (process,) = trace.processes
    for thread in process.fragments:
        key, number = None, 0
        for lane, generation, i in _numbers(process, thread):
            key = key or (lane, generation)
            order.out_of_order += (lane, generation, i) != (*key, number)
            number += 1
        if key is not None:
            order.threads += 1
            order.events += number
            found[key] = found.get(key, 0) + number
    for key, count in planned.items():
        if found.pop(key, 0) != count:
            order.wrong_totals.append(f"lane {key[0]} generation {key[1]}")
    order.wrong_totals += [f"unplanned {key}" for key in found]
    return order


@dataclass
class Wreck:
    """What a killed process left.

    missing: events whose call had returned and that cannot be read.
    surplus: events too many: more than one a thread beyond those that returned,
        out of order, or doubled.
    """

    returned: int
    read: int = 0
    missing: int = 0
    surplus: int = 0
    ring_bytes: int = 0
    torn_bytes: int = 0
    troubles: list[str] = field(default_factory=list)


def wreck(path: Path, returned: list[int]) -> Wreck:
    """Reads a killed process's trace as ``gpu-narration show`` does."""
    found = Wreck(returned=sum(returned))
    try:
        trace = Trace(path)
    except NotATraceError:
        found.missing = (
            found.returned
        )  # killed before there was anything: nothing may have returned
        return found
    numbers: dict[str | None, list[object]] = {f"slot_{slot}": [] for slot in range(len(returned))}
    for event in trace.events():
        numbers.setdefault(event.names[1], []).append(event.arguments[0].value)
    for slot, count in enumerate(returned):
        have = numbers.pop(f"slot_{slot}")
        found.read += len(have)
        found.missing += len(set(range(count)).difference(have))
        good = have == list(range(len(have))) and len(have) <= count + 1
        found.surplus += 0 if good else max(1, len(have) - count)
    found.surplus += sum(map(len, numbers.values()))
    for notice in trace.notices():
        found.ring_bytes += notice.count if notice.trouble is Trouble.DIED else 0
        found.torn_bytes += notice.count if notice.trouble is Trouble.TORN_TAIL else 0
        if notice.trouble not in AFTER_A_KILL:
            found.troubles.append(notice.text)
    return found
