"""A trace survives the death of its program, and damage costs only what is damaged."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import time
from pathlib import Path

import pytest

import gpu_narration
from gpu_narration import narrate, trace_tiny
from gpu_narration._core import annotate
from gpu_narration.tracefile import Event, Notice, Trace, Trouble
from gpu_narration.tracefile import format as fmt
from tests.support.damage import segment_of
from tests.support.programs import (
    begin_python,
    command,
    count_of,
    events_of,
    finish,
    read_all,
    troubles,
    write_program,
)

#: Counts, in a file that outlives it, the calls that returned; then does what it was told.
DOOMED = """
import ctypes, mmap, os, threading, time
import gpu_narration

def record(slot, first, last):
    for i in range(first, last):
        if i % 100 == 99: time.sleep(0.0005)
        gpu_narration.trace_tiny("app", f"thread_{slot}", "", "{} {}", i, "some text")
        progress[slot] = i + 1  # one move of 8 bytes: pack_into would write zeros first

with open("progress", "r+b") as file:
    progress = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
gpu_narration.start("t.gnt", backend="none", vram=False, nvtx="off")
threading.Thread(target=record, args=(1, 0, 1 << 60), daemon=True).start()
record(0, 0, 5_000)
print("ready", flush=True)
"""
ENDINGS = {
    "sigkill": ("record(0, 5_000, 1 << 60)", -signal.SIGKILL),
    "os_exit": ("os._exit(9)", 9),
    "sigsegv": ("ctypes.string_at(0)", -signal.SIGSEGV),
    "abort": ("os.abort()", -signal.SIGABRT),
}


def die(directory: Path, ending: str) -> tuple[int, int]:
    """Runs DOOMED to its end; how many calls of its two threads returned."""
    (directory / "progress").write_bytes(bytes(16))
    last, status = ENDINGS[ending]
    app = write_program(directory, DOOMED + last)
    process = begin_python(app, cwd=directory)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if ending == "sigkill":
        time.sleep(0.05)
        process.kill()
    assert finish(process).returncode == status
    first, second = struct.unpack("<2Q", (directory / "progress").read_bytes())
    return first, second


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_event_whose_call_returned_is_in_the_trace(tmp_path: Path, ending: str) -> None:
    """GIVEN a sudden death WHEN two threads record THEN at most the event in work is unsure."""
    returned = die(tmp_path, ending)
    events, _ = read_all(tmp_path / "t.gnt")
    for slot in (0, 1):
        numbers = [e.arguments[0].value for e in events if e.names[1] == f"thread_{slot}"]
        assert numbers == list(range(len(numbers)))
        assert returned[slot] <= len(numbers) <= returned[slot] + 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_death_is_the_only_thing_that_is_told(tmp_path: Path, ending: str) -> None:
    """A block that was half written when the process died was whole in the ring."""
    die(tmp_path, ending)
    _, notices = read_all(tmp_path / "t.gnt")
    assert troubles(notices) - {Trouble.TORN_TAIL} == {Trouble.DIED}


def test_showing_the_trace_of_a_killed_program_is_no_failure(tmp_path: Path) -> None:
    """GIVEN a trace whose program was killed THEN show prints its last event and says it died."""
    returned, _ = die(tmp_path, "os_exit")
    done = command("show", "t.gnt", cwd=tmp_path)
    assert done.returncode == 0
    assert f'TRACE app thread_0 "{returned - 1} some text"' in done.stdout
    assert done.stdout.splitlines()[-1].startswith("WARN gpu_narration died count=")


# ---- damage ----

COUNT = 120


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed trace of COUNT events in one segment."""
    path = tmp_path_factory.mktemp("whole") / "t.gnt"
    with gpu_narration.start(
        path, backend="none", vram=False, nvtx="off", children=False
    ) as recorder:
        for i in range(COUNT):
            trace_tiny("app", "step", "", "{}", i)
            event_id = narrate("app", "say") if i % 20 == 0 else None
            if event_id is not None:
                annotate(event_id, {"number": i})
            if i % 10 == 0:
                recorder.flush()
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy.gnt"))


def numbers_of(events: list[Event]) -> list[int]:
    return [
        value
        for event in events
        if event.arguments and isinstance(value := event.arguments[0].value, int)
    ]


def blocks(data: bytes) -> list[tuple[int, int]]:
    """Start and end of each block of a segment, by its definition."""
    found, position = [], fmt.FILE_HEADER.size
    while position < len(data):
        (magic,) = struct.unpack_from("<I", data, position)
        if magic == fmt.CLOCK_MAGIC:
            size = fmt.CLOCK_POINT.size
        else:
            header = fmt.CHUNK_HEADER.unpack_from(data, position)
            size = fmt.CHUNK_HEADER.size + header[8] - header[9]
        found.append((position, position + size))
        position += size
    return found


def test_the_whole_trace_is_whole(whole: Path) -> None:
    assert numbers_of(events_of(whole)) == list(range(COUNT))


def test_a_cut_at_any_byte_costs_only_what_was_cut(whole: Path, copy: Path) -> None:
    """GIVEN a segment cut at each of its last 300 bytes THEN the torn bytes are counted exactly."""
    segment = segment_of(copy)
    data = segment.read_bytes()
    ends = [fmt.FILE_HEADER.size] + [end for _, end in blocks(data)]
    for length in range(len(data) - 300, len(data)):
        segment.write_bytes(data[:length])
        events, notices = read_all(copy)
        torn = length - max(end for end in ends if end <= length)
        assert count_of(notices, Trouble.TORN_TAIL) == torn, length
        assert troubles(notices) <= {Trouble.TORN_TAIL}, length
        kept = numbers_of(events)
        assert kept == list(range(len(kept))), length


def test_all_events_before_the_cut_are_there(copy: Path) -> None:
    """GIVEN a cut inside a block of events THEN all blocks before it are read in full."""
    segment = segment_of(copy)
    data = segment.read_bytes()
    for start, end in blocks(data)[-12:-3]:
        segment.write_bytes(data[:start])
        before = numbers_of(read_all(copy)[0])
        segment.write_bytes(data[: (start + end) // 2])
        assert numbers_of(read_all(copy)[0]) == before


@pytest.mark.parametrize("length", [0, 1, 63])
def test_a_segment_without_a_header_is_no_error(copy: Path, length: int) -> None:
    os.truncate(segment_of(copy), length)
    events, notices = read_all(copy)
    assert (events, count_of(notices, Trouble.TORN_TAIL)) == ([], length)


def test_an_empty_trace_has_no_events_and_no_troubles(copy: Path) -> None:
    segment_of(copy).unlink()
    assert events_of(copy) == []


def event_blocks(data: bytes) -> list[int]:
    """Where the blocks with events of threads start."""
    found = []
    for start, _ in blocks(data):
        magic, stream = struct.unpack_from("<2I", data, start)
        if magic == fmt.CHUNK_MAGIC and stream >= fmt.FIRST_THREAD:
            found.append(start)
    return found


def test_destroyed_bytes_in_the_middle_are_stepped_over(tmp_path: Path) -> None:
    """GIVEN many chunks and one destroyed header THEN all events outside its chunk are read."""
    path = tmp_path / "t.gnt"
    with gpu_narration.start(path, backend="none", vram=False, nvtx="off", children=False):
        for i in range(1000):
            trace_tiny("app", "step", "", "{} {}", i, "x" * 500)
    segment = segment_of(path)
    data = bytearray(segment.read_bytes())
    starts = event_blocks(bytes(data))
    start = starts[len(starts) // 2]
    data[start : start + 16] = b"\xff" * 16
    segment.write_bytes(data)
    events, notices = read_all(path)
    lost = set(range(1000)) - set(numbers_of(events))
    assert 0 < len(lost) <= 65536 // 500
    assert lost == set(range(min(lost), max(lost) + 1))
    assert Trouble.DAMAGED in troubles(notices)


def test_behind_a_destroyed_block_nothing_of_its_chunk_is_guessed(copy: Path) -> None:
    """GIVEN a hole in a chunk THEN what follows, whose times are unknown, is left out and told."""
    segment = segment_of(copy)
    data = bytearray(segment.read_bytes())
    starts = event_blocks(bytes(data))
    hole = starts[len(starts) // 2]
    data[hole : hole + 16] = b"\xff" * 16
    segment.write_bytes(data)
    events, notices = read_all(copy)
    kept = numbers_of(events)
    assert kept == list(range(len(kept)))
    assert 0 < len(kept) < COUNT
    assert Trouble.DAMAGED in troubles(notices)


def test_flipped_bytes_never_raise(copy: Path) -> None:
    """GIVEN any single byte of a trace flipped THEN it is read, and most of it is there."""
    segment = segment_of(copy)
    data = segment.read_bytes()
    step = max(1, len(data) // 150)
    for position in range(fmt.FILE_HEADER.size, len(data), step):
        flipped = bytearray(data)
        flipped[position] ^= 0xFF
        segment.write_bytes(flipped)
        events, _ = read_all(copy)
        assert isinstance(events, list), position


def test_flipped_bytes_of_an_annotation_never_raise(copy: Path) -> None:
    segment = segment_of(copy)
    data = segment.read_bytes()
    start, end = next(
        (start, end) for start, end in blocks(data)
        if struct.unpack_from("<2I", data, start) == (fmt.CHUNK_MAGIC, fmt.STREAM_ANNOTATIONS)
    )  # fmt: skip
    for position in range(start + fmt.CHUNK_HEADER.size, end):
        flipped = bytearray(data)
        flipped[position] ^= 0xFF
        segment.write_bytes(flipped)
        assert len(numbers_of(read_all(copy)[0])) == COUNT, position


def test_a_flipped_block_header_is_told(copy: Path) -> None:
    """GIVEN the magic of each block destroyed in turn THEN the reader says so every time."""
    segment = segment_of(copy)
    data = segment.read_bytes()
    for start, _ in blocks(data):
        flipped = bytearray(data)
        flipped[start] ^= 0xFF
        segment.write_bytes(flipped)
        _, notices = read_all(copy)
        assert troubles(notices) & {Trouble.DAMAGED, Trouble.TORN_TAIL}, start


def test_showing_a_damaged_trace_is_status_3(copy: Path) -> None:
    segment = segment_of(copy)
    os.truncate(segment, segment.stat().st_size - 5)
    done = command("show", copy, cwd=copy.parent)
    assert done.returncode == 3
    assert "torn_tail" in done.stdout.splitlines()[-1]


def test_a_newer_format_is_named_and_not_guessed_at(copy: Path) -> None:
    segment = segment_of(copy)
    data = bytearray(segment.read_bytes())
    struct.pack_into("<I", data, 8, fmt.VERSION + 1)
    segment.write_bytes(data)
    events, notices = read_all(copy)
    assert (events, troubles(notices)) == ([], {Trouble.NEWER_FORMAT})


def test_reading_the_events_twice_tells_the_same(copy: Path) -> None:
    """GIVEN a trace with a hole WHEN it is read again THEN nothing is counted twice."""
    segment = segment_of(copy)
    data = bytearray(segment.read_bytes())
    hole = event_blocks(bytes(data))[3]
    data[hole : hole + 16] = b"\xff" * 16
    segment.write_bytes(data)
    trace = Trace(copy)
    first = list(trace.events()), trace.notices()
    assert (list(trace.events()), trace.notices()) == first


def test_a_file_that_is_no_segment_is_named(copy: Path) -> None:
    segment = segment_of(copy)
    segment.write_bytes(b"\0" * 500)
    events, notices = read_all(copy)
    assert (events, count_of(notices, Trouble.DAMAGED)) == ([], 500)


@pytest.mark.parametrize("name", ["notes.txt", "x.ring", "a-b.000.seg", ".seg", "1-a.seg.bak"])
def test_strange_files_in_a_trace_do_no_harm(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"strange")
    events, _ = read_all(copy)
    assert numbers_of(events) == list(range(COUNT))


# ---- a ring that was cut ----


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dead")
    die(directory, "os_exit")
    return directory / "t.gnt"


@pytest.mark.parametrize(
    "length", [0, 1, 64, 4095, 4096, 4097, 4096 + 63, 65536, 4096 + 65536, 500_000]
)
def test_a_truncated_ring_gives_what_is_left_of_it(dead: Path, tmp_path: Path, length: int) -> None:
    """GIVEN a ring cut anywhere THEN nothing raises and the segments are read in full."""
    trace = Path(shutil.copytree(dead, tmp_path / "cut.gnt"))
    (ring,) = trace.glob("*.ring")
    os.truncate(ring, length)
    events, notices = read_all(trace)
    assert Trouble.DIED in troubles(notices)
    kept = [e.seq for e in events if e.names[1] == "thread_0"]
    assert kept == sorted(set(kept))


def test_a_ring_of_a_newer_format_is_named(dead: Path, tmp_path: Path) -> None:
    trace = Path(shutil.copytree(dead, tmp_path / "new.gnt"))
    (ring,) = trace.glob("*.ring")
    with ring.open("r+b") as file:
        file.seek(8)
        file.write(struct.pack("<I", fmt.VERSION + 1))
    notices: list[Notice] = read_all(trace)[1]
    assert Trouble.NEWER_FORMAT in troubles(notices)
