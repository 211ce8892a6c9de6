"""A program that is killed for want of memory leaves every event whose call had returned."""

from __future__ import annotations

import mmap
import signal
import struct
from pathlib import Path

from gpu_narration.tracefile import Trouble
from tests.support.memory_group import memory_group
from tests.support.programs import (
    begin_python,
    command,
    finish,
    read_all,
    troubles,
    write_program,
)

#: Records while it takes more and more memory; counts the calls that returned.
GREEDY = """
import mmap, os, sys, threading
import gpu_narration

if len(sys.argv) > 1:
    with open(sys.argv[1], "w") as group:
        group.write(str(os.getpid()))
with open("progress", "r+b") as file:
    progress = memoryview(mmap.mmap(file.fileno(), 32)).cast("Q")
gpu_narration.start("t.gnt", backend="none", vram=False, nvtx="off", ring_bytes=1 << 20)

def work(slot):
    taken = []
    for i in range(1 << 60):
        gpu_narration.trace_tiny("app", f"thread_{slot}", "", "{} {}", i, "some text")
        progress[slot] = i + 1  # one move of 8 bytes: pack_into would write zeros first
        if i % 25 == 0:
            if len(taken) > 8192:
                os._exit(1)  # half a GiB: the limit does not hold
            taken.append(b"\\1" * 65536)
            progress[2 + slot] = len(taken)

threading.Thread(target=work, args=(1,), daemon=True).start()
work(0)
"""


def run_out(directory: Path, *arguments: str, kill_at_chunks: int | None = None) -> list[int]:
    """Runs GREEDY until it is killed; how many calls of its two threads returned."""
    (directory / "progress").write_bytes(bytes(32))
    process = begin_python(write_program(directory, GREEDY), *arguments, cwd=directory)
    if kill_at_chunks is not None:
        with (directory / "progress").open("r+b") as file, mmap.mmap(file.fileno(), 32) as seen:
            while (
                process.poll() is None and sum(struct.unpack_from("<2Q", seen, 16)) < kill_at_chunks
            ):
                pass
        process.kill()
    assert finish(process).returncode == -signal.SIGKILL
    return list(struct.unpack_from("<2Q", (directory / "progress").read_bytes()))


def all_is_there(directory: Path, returned: list[int]) -> None:
    events, notices = read_all(directory / "t.gnt")
    for slot in (0, 1):
        numbers = [e.arguments[0].value for e in events if e.names[1] == f"thread_{slot}"]
        assert numbers == list(range(len(numbers)))
        assert returned[slot] <= len(numbers) <= returned[slot] + 1
    assert troubles(notices) - {Trouble.TORN_TAIL} == {Trouble.DIED}


def test_a_kill_by_the_kernel_for_want_of_memory_loses_nothing(tmp_path: Path) -> None:
    """GIVEN a memory limit WHEN the kernel kills THEN every event that returned is read back."""
    with memory_group(64 << 20) as group:
        returned = run_out(tmp_path, str(group / "cgroup.procs"))
    assert sum(returned) > 1000
    all_is_there(tmp_path, returned)
    done = command("show", "t.gnt", cwd=tmp_path)
    assert f'"{returned[0] - 1} some text"' in done.stdout
    assert " died count=" in done.stdout.splitlines()[-1]


def test_a_kill_while_memory_is_taken_loses_nothing(tmp_path: Path) -> None:
    """What such a kill does, where no memory group can be made: SIGKILL in the midst of it."""
    all_is_there(tmp_path, run_out(tmp_path, kill_at_chunks=300))
