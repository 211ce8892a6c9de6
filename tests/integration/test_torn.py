"""What a power loss, a full disk or a copy at a bad moment leaves of a trace is read."""

from __future__ import annotations

import os
import random
import shutil
import struct
import threading
import time
from pathlib import Path

import pytest

import gpu_narration
from gpu_narration import trace_tiny
from gpu_narration.tracefile import Trouble
from gpu_narration.tracefile import format as fmt
from tests.support.damage import segment_of
from tests.support.programs import (
    command,
    count_of,
    events_of,
    python,
    read_all,
    troubles,
    write_program,
)

COUNT = 40
DEATH = """
import os
import gpu_narration as gn
gn.start("t.gnt", backend="none", vram=False, nvtx="off")
for i in range(300):
    gn.trace_tiny("app", "step", "", "{} {}", i, "x" * 500)
    if i == 250: gn.flush()
os._exit(9)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed trace of COUNT events in many small blocks."""
    path = tmp_path_factory.mktemp("whole") / "t.gnt"
    with gpu_narration.start(
        path, backend="none", vram=False, nvtx="off", children=False
    ) as recorder:
        for i in range(COUNT):
            trace_tiny("app", "step", "", "{}", i)
            if i % 4 == 0:
                recorder.flush()
    return path


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of a program that died: 251 events flushed, 49 in its ring only."""
    directory = tmp_path_factory.mktemp("dead")
    assert python(write_program(directory, DEATH), cwd=directory).returncode == 9
    return directory / "t.gnt"


def copy_of(trace: Path, directory: Path) -> tuple[Path, Path]:
    """A copy and its only segment."""
    copy = Path(shutil.copytree(trace, directory / "copy.gnt"))
    return copy, segment_of(copy)


def numbers(trace: Path) -> list[object]:
    return [event.arguments[0].value for event in read_all(trace)[0]]


def test_a_segment_cut_at_any_byte_gives_the_events_before_it(whole: Path, tmp_path: Path) -> None:
    """GIVEN every possible length of a segment THEN what is left of the events is their
    beginning, it never shrinks as the segment grows, and nothing torn goes untold.
    """
    copy, segment = copy_of(whole, tmp_path)
    data = segment.read_bytes()
    last = 0
    for length in range(len(data) + 1):
        segment.write_bytes(data[:length])
        events, notices = read_all(copy)
        assert [event.arguments[0].value for event in events] == list(range(len(events))), length
        assert len(events) >= last, length
        assert troubles(notices) <= {Trouble.TORN_TAIL, Trouble.UNDEFINED}, length
        last = len(events)
    assert last == COUNT


TAILS = {
    "zeros": bytes(5000),
    "a page of zeros": bytes(4096),
    "garbage": random.Random(1).randbytes(5000),
    "one byte": b"G",
    "a header without its records": struct.pack("<2I4Q4I8x", fmt.CHUNK_MAGIC, 2, *[9] * 4, 0, 0, 900, 0),
    "the magic again and again": struct.pack("<I", fmt.CHUNK_MAGIC) * 1000,
}  # fmt: skip


@pytest.mark.parametrize("tail", TAILS)
def test_what_stands_behind_the_end_is_counted_and_costs_nothing(
    whole: Path, tmp_path: Path, tail: str
) -> None:
    """GIVEN bytes behind the last block THEN all events are there and the bytes are told."""
    copy, segment = copy_of(whole, tmp_path)
    with segment.open("ab") as file:
        file.write(TAILS[tail])
    events, notices = read_all(copy)
    assert [event.arguments[0].value for event in events] == list(range(COUNT))
    assert count_of(notices, Trouble.TORN_TAIL) == len(TAILS[tail])
    assert troubles(notices) == {Trouble.TORN_TAIL}


def test_the_command_tells_the_torn_bytes(whole: Path, tmp_path: Path) -> None:
    copy, segment = copy_of(whole, tmp_path)
    with segment.open("ab") as file:
        file.write(bytes(777))
    done = command("show", copy, cwd=tmp_path)
    assert done.returncode == 3
    assert "torn_tail count=777" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_pages_that_never_reached_the_disk_are_stepped_over(
    dead: Path, tmp_path: Path, pages: int
) -> None:
    """GIVEN pages of zeros inside a segment (a power loss) THEN the rest and the ring are read."""
    copy, segment = copy_of(dead, tmp_path)
    data = bytearray(segment.read_bytes())
    data[8192 : 8192 + pages * fmt.PAGE] = bytes(pages * fmt.PAGE)
    segment.write_bytes(data)
    events, notices = read_all(copy)
    kept = [event.arguments[0].value for event in events]
    assert kept == sorted(set(kept))
    assert kept[-1] == 299
    assert troubles(notices) & {Trouble.DAMAGED, Trouble.TORN_TAIL}


# ---- rings ----


def ring_of(trace: Path) -> Path:
    (ring,) = trace.glob("*.ring")
    return ring


def test_the_ring_has_what_the_segments_lack(dead: Path) -> None:
    assert numbers(dead) == list(range(300))


def test_any_byte_of_a_rings_headers_may_be_wrong(dead: Path, tmp_path: Path) -> None:
    """GIVEN each byte of the ring's first page and of a chunk's header flipped in turn THEN
    reading never fails and the flushed events are all there.
    """
    copy, _ = copy_of(dead, tmp_path)
    ring = ring_of(copy)
    data = ring.read_bytes()
    chunk = next(
        at
        for at in range(fmt.PAGE, len(data), fmt.CHUNK_SIZE)
        if struct.unpack_from("<2I", data, at) == (fmt.CHUNK_MAGIC, fmt.FIRST_THREAD)
    )
    for position in [*range(160), *range(chunk, chunk + 64)]:
        with ring.open("r+b") as file:
            file.seek(position)
            file.write(bytes([data[position] ^ 0xFF]))
        assert numbers(copy)[:251] == list(range(251)), position
        with ring.open("r+b") as file:
            file.seek(position)
            file.write(data[position : position + 1])


@pytest.mark.parametrize("position", [0, 7, 32, 33])
def test_a_ring_whose_header_is_damaged_still_gives_its_events(
    dead: Path, tmp_path: Path, position: int
) -> None:
    """GIVEN a wrong magic or chunk size THEN the ring's events are all there, and it is told."""
    copy, _ = copy_of(dead, tmp_path)
    with ring_of(copy).open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0xFF]))
    assert numbers(copy) == list(range(300))
    assert Trouble.DAMAGED in troubles(read_all(copy)[1])


@pytest.mark.parametrize("length", [0, 63, 4095, 4096, 4096 + 64, 70_000, 140_000, 1_000_000])
def test_a_ring_cut_short_costs_only_what_was_cut(dead: Path, tmp_path: Path, length: int) -> None:
    copy, _ = copy_of(dead, tmp_path)
    os.truncate(ring_of(copy), length)
    kept = numbers(copy)
    assert kept == list(range(len(kept)))
    assert len(kept) >= 251


def test_a_copy_of_a_running_trace_has_all_that_was_recorded_before_it(tmp_path: Path) -> None:
    """GIVEN a thread that records WHEN the ring is copied, then the segments, again and again
    THEN each copy has every event of which the call returned before.
    """
    done = 0
    going = True

    def work() -> None:
        nonlocal done
        for i in range(1 << 40):
            trace_tiny("app", "step", "", "{} {}", i, "x" * 100)
            done = i + 1
            if i % 100 == 99:
                time.sleep(0.001)
            if not going:
                return

    path = tmp_path / "t.gnt"
    with gpu_narration.start(
        path, backend="none", vram=False, nvtx="off", children=False, ring_bytes=1 << 20
    ) as recorder:
        thread = threading.Thread(target=work)
        thread.start()
        for n in range(10):
            before = done
            copy = tmp_path / f"copy{n}.gnt"
            copy.mkdir()
            for pattern in ("*.ring", "*.seg", "trace.json"):
                for file in sorted(path.glob(pattern)):
                    shutil.copy(file, copy)
            kept = numbers(copy)
            assert kept[:before] == list(range(before)), n
            shutil.rmtree(copy)
        going = False
        thread.join()
    assert recorder.stats()["dropped"] == 0
    assert len(events_of(path)) == done
