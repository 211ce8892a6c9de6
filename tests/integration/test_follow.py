"""A trace that grows is followed past damage, just as a whole one is shown past it."""

from __future__ import annotations

import fcntl
import shutil
import struct
from pathlib import Path

import pytest

import gpu_narration
from gpu_narration import trace_tiny
from gpu_narration.tracefile import Trace
from gpu_narration.tracefile import format as fmt
from gpu_narration.tracefile.follow import Follower
from tests.support.damage import fragments_of, segment_of
from tests.support.programs import command

COUNT = 1200


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed trace of COUNT events in many chunks."""
    path = tmp_path_factory.mktemp("whole") / "t.gnt"
    with gpu_narration.start(
        path, backend="none", vram=False, nvtx="off", children=False
    ) as recorder:
        for i in range(COUNT):
            trace_tiny("app", "step", "", "{} {}", i, "x" * 500)
            if i % 50 == 0:
                recorder.flush()
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy.gnt"))


def shown(path: Path) -> list[object]:
    return [event.arguments[0].value for event in Trace(path).events()]


def followed(path: Path) -> list[object]:
    """What a follower finds that looks once the trace has ended."""
    follower, found = Follower(path), []
    while not (batch := follower.poll()).ended:
        found += [event.arguments[0].value for event in batch.events]
    return found


def test_following_an_ended_trace_gives_all_of_it(copy: Path) -> None:
    assert followed(copy) == list(range(COUNT))


@pytest.mark.parametrize("which", [0, 1, 7, -2])
@pytest.mark.parametrize("junk", [b"\xff" * 16, bytes(64), b"GNTC" + bytes(60)])
def test_a_damaged_block_is_stepped_over(copy: Path, which: int, junk: bytes) -> None:
    """GIVEN a destroyed header THEN following finds exactly what showing finds."""
    segment = segment_of(copy)
    data = bytearray(segment.read_bytes())
    start = fragments_of(segment)[which]
    data[start : start + len(junk)] = junk
    segment.write_bytes(data)
    expected = shown(copy)
    assert expected != list(range(COUNT))
    assert followed(copy) == expected


def test_several_damaged_blocks_are_stepped_over(copy: Path) -> None:
    segment = segment_of(copy)
    data = bytearray(segment.read_bytes())
    for start in fragments_of(segment)[3:20:4]:
        data[start : start + 16] = b"\xff" * 16
    segment.write_bytes(data)
    assert followed(copy) == shown(copy)


def test_a_hole_larger_than_a_piece_is_stepped_over(copy: Path) -> None:
    """GIVEN 6 MiB of zeros in the middle THEN what lies behind them is followed."""
    segment = segment_of(copy)
    data = segment.read_bytes()
    start = fragments_of(segment)[9]
    segment.write_bytes(data[:start] + bytes(6 << 20) + data[start:])
    assert followed(copy) == list(range(COUNT))


def test_what_is_torn_at_the_end_ends_the_following(copy: Path) -> None:
    segment = segment_of(copy)
    data = segment.read_bytes()
    segment.write_bytes(data[: fragments_of(segment)[-1] + 100])
    assert followed(copy) == shown(copy)


@pytest.mark.parametrize("step", [1, 63, 64, 5000, 100_000])
def test_a_segment_that_comes_in_pieces_is_followed(whole: Path, copy: Path, step: int) -> None:
    """GIVEN a segment that grows by any number of bytes THEN no event is lost or doubled."""
    data = segment_of(whole).read_bytes()
    segment = segment_of(copy)
    ends = list(range(fmt.FILE_HEADER.size, len(data), step))[-400:]
    follower, found = Follower(copy), []
    for end in [*ends, len(data)]:
        segment.write_bytes(data[:end])
        found += [event.arguments[0].value for event in poll_running(follower)]
    found += [event.arguments[0].value for event in follower.poll().events]
    assert found == list(range(COUNT))


def poll_running(follower: Follower):
    """One look while the process is thought to run."""
    (ring,) = [f"{path.name.partition('.')[0]}.ring" for path in follower.path.glob("*.seg")]
    path = follower.path / ring
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        events = follower.poll().events
    path.unlink()
    return events


def test_what_was_taken_back_and_written_anew_is_seen_once(whole: Path, copy: Path) -> None:
    """GIVEN a disk that was full: blocks read, cut off and written again with others between
    THEN each event comes once.
    """
    data = segment_of(whole).read_bytes()
    segment = segment_of(copy)
    starts = fragments_of(segment)
    clock = next(
        data[at : at + fmt.CLOCK_POINT.size]
        for at in range(fmt.FILE_HEADER.size, len(data))
        if data[at : at + 4] == struct.pack("<I", fmt.CLOCK_MAGIC)
    )
    follower, found = Follower(copy), []
    segment.write_bytes(data[: starts[12] + 100])
    found += [event.arguments[0].value for event in poll_running(follower)]
    segment.write_bytes(data[: starts[8]] + clock + data[starts[8] :])
    found += [event.arguments[0].value for event in poll_running(follower)]
    found += [event.arguments[0].value for event in follower.poll().events]
    assert found == list(range(COUNT))


def test_a_segment_of_a_newer_format_is_not_guessed_at(copy: Path) -> None:
    with segment_of(copy).open("r+b") as file:
        file.seek(8)
        file.write(struct.pack("<I", fmt.VERSION + 1))
    assert followed(copy) == []


def test_the_command_tells_the_damage_at_the_end(copy: Path) -> None:
    """GIVEN a damaged block WHEN the trace is shown with --follow THEN status 3 and a notice."""
    segment = segment_of(copy)
    data = bytearray(segment.read_bytes())
    start = fragments_of(segment)[5]
    data[start : start + 16] = b"\xff" * 16
    segment.write_bytes(data)
    done = command("show", "--follow", copy, cwd=copy.parent)
    assert done.returncode == 3
    assert done.stdout == command("show", copy, cwd=copy.parent).stdout
    assert f'"{COUNT - 1} {"x" * 500}"' in done.stdout


def test_a_trace_that_vanishes_ends_the_following(copy: Path) -> None:
    follower = Follower(copy)
    for path in copy.iterdir():
        if path.suffix != ".json":
            path.unlink()
    assert follower.poll().events == []
