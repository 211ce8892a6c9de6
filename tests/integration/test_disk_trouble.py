"""A disk that is full and a trace that is taken away: the program goes on, and it is told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_narration.tracefile import Trace, Trouble, count_events
from tests.support.programs import command, count_of, python, read_all, troubles, write_program


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB, in memory."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", mounted],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)


def run(directory: Path, source: str) -> subprocess.CompletedProcess[str]:
    done = python(write_program(directory, source), cwd=directory)
    assert done.returncode == 0, done.stderr
    return done


FILLS_THE_DISK = """
import gpu_narration as gn
recorder = gn.start("{disk}/t.gnt", backend="none", vram=False, nvtx="off", ring_bytes=1 << 20)
for i in range(40_000):
    gn.trace_tiny("app", "step", "", "{{}} {{}}", i, "x" * 500)
print("went on", recorder.stop()["dropped"])
"""


def numbers(trace: Path) -> list[object]:
    return [event.arguments[0].value for event in read_all(trace)[0]]


def test_a_full_disk_stops_no_program(small_disk: Path, tmp_path: Path) -> None:
    done = run(tmp_path, FILLS_THE_DISK.format(disk=small_disk))
    assert done.stdout.startswith("went on ")
    assert done.stderr.count("[ring-kept]") == 1
    assert "No space left on device" in done.stderr


def test_a_full_disk_loses_nothing_that_was_recorded(small_disk: Path, tmp_path: Path) -> None:
    """GIVEN a disk that fills up THEN recorded and dropped are all, and the first are all there."""
    done = run(tmp_path, FILLS_THE_DISK.format(disk=small_disk))
    dropped = int(done.stdout.split()[2])
    kept = numbers(small_disk / "t.gnt")
    assert dropped > 0
    assert len(kept) + dropped == 40_000
    assert len(kept) * 500 > 5_000_000  # segment and ring together: the disk was used
    first = next((i for i, number in enumerate(kept) if i != number), len(kept))
    assert first * 500 > 4_000_000


def test_a_full_disk_is_told_by_the_trace(small_disk: Path, tmp_path: Path) -> None:
    done = run(tmp_path, FILLS_THE_DISK.format(disk=small_disk))
    _, notices = read_all(small_disk / "t.gnt")
    assert troubles(notices) == {Trouble.WRITE_ERROR, Trouble.DROPPED, Trouble.RING_KEPT}
    assert count_of(notices, Trouble.DROPPED) == int(done.stdout.split()[2])
    shown = command("show", small_disk / "t.gnt", cwd=tmp_path)
    assert shown.returncode == 0
    assert "the recorder could not write: No space left on device" in shown.stdout


def test_a_disk_that_has_room_again_is_written_again(small_disk: Path, tmp_path: Path) -> None:
    """GIVEN a disk full for a while THEN what came before and after is whole, between is counted."""
    done = run(
        tmp_path,
        f"""
        import os, time
        import gpu_narration as gn
        recorder = gn.start("{small_disk}/t.gnt", backend="none", vram=False, nvtx="off",
                            ring_bytes=1 << 20)
        def record(count):
            global number
            for _ in range(count):
                gn.trace_tiny("app", "step", "", "{{}} {{}}", number, "x" * 100)
                number += 1
        number = 0
        record(1000)
        gn.flush()
        with open("{small_disk}/filler", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)): pass
            except OSError: pass
        while not gn.stats()["dropped"]:
            record(100)
        os.unlink("{small_disk}/filler")
        while not gn.flush(): time.sleep(0.1)
        record(1000)
        last = number
        print(number, recorder.stop()["dropped"])
        """,
    )
    total, dropped = map(int, done.stdout.split())
    assert "[ring-kept]" not in done.stderr
    events, notices = read_all(small_disk / "t.gnt")
    kept = [event.arguments[0].value for event in events]
    assert len(kept) + dropped == total
    assert kept[:1000] == list(range(1000))
    assert kept[-1000:] == list(range(total - 1000, total))
    assert troubles(notices) == {Trouble.DROPPED}


def test_a_disk_without_room_for_the_ring_is_told_at_the_start(
    small_disk: Path, tmp_path: Path
) -> None:
    done = run(
        tmp_path,
        f"""
        import gpu_narration as gn
        try:
            gn.start("{small_disk}/t.gnt", backend="none", ring_bytes=8 << 20)
        except gn.TracePathError as error:
            print(error)
        """,
    )
    assert "No space left on device" in done.stdout
    assert "the ring of 8 MiB must fit" in done.stdout
    assert list(small_disk.iterdir()) == []


def test_many_threads_on_a_full_disk_do_with_the_ring_there_is(
    small_disk: Path, tmp_path: Path
) -> None:
    """GIVEN no room for the ring to grow WHEN 60 threads record THEN all is kept or counted."""
    done = run(
        tmp_path,
        f"""
        import threading
        import gpu_narration as gn
        recorder = gn.start("{small_disk}/t.gnt", backend="none", vram=False, nvtx="off",
                            ring_bytes=512 << 10)
        with open("{small_disk}/filler", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)): pass
            except OSError: pass
        gate = threading.Barrier(60)
        def work():
            gate.wait()
            for i in range(500):
                gn.trace_tiny("app", "step", "", "{{}} {{}}", i, "x" * 100)
            gate.wait()
        threads = [threading.Thread(target=work) for _ in range(60)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        stats = recorder.stop()
        print(stats["dropped"], stats["suppressed"])
        """,
    )
    dropped, suppressed = map(int, done.stdout.split())
    counted = count_events(Trace(small_disk / "t.gnt"))
    assert sum(count.events for count in counted) + dropped == 60 * 500
    assert suppressed == 0
    assert sum(count.damaged_bytes + count.missing for count in counted) == 0


def test_a_limit_on_the_size_of_files_is_as_a_full_disk(tmp_path: Path) -> None:
    """GIVEN RLIMIT_FSIZE THEN the program goes on and recorded and dropped are all."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))\n"
    done = run(tmp_path, limit + FILLS_THE_DISK.format(disk=tmp_path))
    dropped = int(done.stdout.split()[2])
    assert "File too large" in done.stderr
    assert dropped > 0
    assert len(numbers(tmp_path / "t.gnt")) + dropped == 40_000


# ---- a directory that goes away ----

GONE = """
import shutil
import gpu_narration as gn
recorder = gn.start("t.gnt", backend="none", vram=False, nvtx="off", ring_bytes=1 << 20)
def record():
    for i in range(20_000):
        gn.trace_tiny("app", "step", "", "{} {}", i, "x" * 500)
record()
shutil.rmtree("t.gnt")
record()
"""


def test_a_directory_deleted_under_a_program_costs_it_one_line(tmp_path: Path) -> None:
    """GIVEN a trace directory deleted while it is written THEN all calls return and stop tells."""
    done = run(tmp_path, GONE + 'recorder.stop()\nprint("went on")')
    assert done.stdout == "went on\n"
    (line,) = done.stderr.splitlines()
    assert "t.gnt was removed, or moved away, while it was written" in line
    assert line.endswith("[trace-gone]")


def test_after_a_deleted_trace_another_can_be_recorded(tmp_path: Path) -> None:
    run(tmp_path, GONE + 'recorder.stop()\nwith gn.start("t.gnt", backend="none"): record()')
    assert numbers(tmp_path / "t.gnt") == list(range(20_000))


def test_a_child_of_a_program_whose_trace_is_gone_goes_on(tmp_path: Path) -> None:
    """GIVEN a deleted directory WHEN a forked child records THEN it says so once and goes on."""
    done = run(
        tmp_path,
        GONE
        + """
import os
child = os.fork()
if child == 0:
    record()
    print("child went on", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""",
    )
    assert done.stdout == "child went on\n"
    assert done.stderr.count("nothing is recorded: cannot write to") == 1


def test_under_the_command_a_deleted_trace_is_told_once(tmp_path: Path) -> None:
    app = write_program(
        tmp_path,
        "import shutil, gpu_narration as gn\n"
        "gn.trace_tiny('app', 'step', '', '')\nshutil.rmtree('app.gnt')\nprint('went on')\n",
    )
    done = command("run", "--backend", "none", app.name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert done.stderr.count("[trace-gone]") == 1


def test_a_deleted_directory_takes_no_further_segment_and_stops_no_program(tmp_path: Path) -> None:
    """GIVEN a deleted directory WHEN a segment is full THEN what follows is dropped and counted."""
    done = run(
        tmp_path,
        GONE
        + """
for i in range(400_000):
    gn.trace_tiny("app", "step", "", "{} {}", i, "x" * 1000)
print(recorder.stop()["dropped"] > 0)
""",
    )
    assert done.stdout == "True\n"
    assert done.stderr.count("[trace-gone]") == 1
    assert "[ring-kept]" not in done.stderr


def test_a_trace_that_was_moved_is_whole_where_it_is_now(tmp_path: Path) -> None:
    """GIVEN a directory moved away WHEN more than a segment is recorded THEN nothing is lost:
    files are made in the directory that was opened, wherever it went.
    """
    done = run(
        tmp_path,
        """
        import os
        import gpu_narration as gn
        recorder = gn.start("t.gnt", backend="none", vram=False, nvtx="off")
        os.rename("t.gnt", "moved.gnt")
        for i in range(300_000):
            gn.trace_tiny("app", "step", "", "{} {}", i, "x" * 1000)
        print(recorder.stop()["dropped"])
        """,
    )
    assert done.stdout == "0\n"
    counted = count_events(Trace(tmp_path / "moved.gnt"))
    assert len(list((tmp_path / "moved.gnt").glob("*.seg"))) == 2
    assert [(count.events, count.missing) for count in counted if count.events] == [(300_000, 0)]
