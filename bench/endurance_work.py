"""What the endurance runs record, each in a process of its own.

    python bench/endurance_work.py WORK TRACE PROGRESS OPTIONS-AS-JSON

PROGRESS is a file of u64 counters, mapped: how many calls of each slot have
returned.  It outlives the process, however that ends.  Prints the figures as JSON.
"""

from __future__ import annotations

import gc
import json
import mmap
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_narration
from gpu_narration import trace_tiny, trace_with_correlation

STEP = 100_000
_QUIET: dict[str, Any] = {"backend": "none", "vram": False, "nvtx": "off", "children": False}


class Progress:
    """Counters in shared memory.

    A store is one move of 8 aligned bytes, which no kill can split; struct.pack_into
    would write zeros first.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    def store(self, slot: int, count: int) -> None:
        self._counts[slot] = count

    def add(self, slot: int, count: int) -> None:
        self._counts[slot] += count


def memory() -> dict[str, int]:
    """Resident bytes of this process, all and by kind: the ring is a mapped file, so it
    counts as RssFile, or as RssShmem where the file system is in memory.
    """
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon", "RssFile", "RssShmem"):
            found[name] = int(value.split()[0]) * 1024
    return found


class Growth:
    """The most that memory grew over where it stood at the beginning."""

    def __init__(self) -> None:
        gc.collect()
        self._before = memory()
        self.most = dict.fromkeys(self._before, 0)

    def look(self) -> None:
        for kind, now in memory().items():
            self.most[kind] = max(self.most[kind], now - self._before[kind])


def _steps(
    trace: Path, progress: Progress, count: int, record: Callable[[int, int], None]
) -> dict[str, Any]:
    """Records ``count`` events a step at a time, with a look at memory after each."""
    growth = Growth()
    recorder = gpu_narration.start(trace, **_QUIET)
    settled = None
    begin = time.perf_counter_ns()
    for first in range(0, count, STEP):
        last = min(first + STEP, count)
        record(first, last)
        progress.store(0, last)
        growth.look()
        if settled is None and last >= count // 10:
            settled = Growth()
        elif settled is not None:
            settled.look()
    stats = recorder.stop()
    elapsed_ns = time.perf_counter_ns() - begin
    growth.look()
    assert settled is not None
    return {
        "elapsed_ns": elapsed_ns,
        "stats": stats,
        "growth_bytes": growth.most,
        "growth_after_a_tenth_bytes": settled.most,
    }


def events(trace: Path, progress: Progress, *, count: int) -> dict[str, Any]:
    """``count`` light events with two ints each."""

    def record(first: int, last: int) -> None:
        for i in range(first, last):
            trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {} of {}", i, 100)

    return _steps(trace, progress, count, record)


def strings(trace: Path, progress: Progress, *, count: int) -> dict[str, Any]:
    """``count`` events with a new text of 30 bytes each: by turns an argument, a target, a human
    text and a correlation id.
    """

    def record(first: int, last: int) -> None:
        for i in range(first, last - 3, 4):
            trace_tiny("app", "argument", "", "{}", f"{i:030d}")
            trace_tiny("app", "target", f"{i:030d}", "")
            trace_tiny("app", "human", "", f"{i:030d}")
            trace_with_correlation("app", "correlation", "", "", f"{i:030d}")
        for i in range(last - (last - first) % 4, last):
            trace_tiny("app", "argument", "", "{}", f"{i:030d}")

    return _steps(trace, progress, count, record)


def shares(count: int, parts: int, seed: int) -> list[int]:
    """``count`` in ``parts`` uneven parts."""
    dice = random.Random(seed)
    cuts = sorted(dice.sample(range(1, count), parts - 1)) if parts > 1 else []
    return [end - begin for begin, end in zip([0, *cuts], [*cuts, count], strict=True)]


def threads(
    trace: Path, progress: Progress, *, lanes: int, count: int, generations: int, seed: int
) -> dict[str, Any]:
    """``lanes`` threads at a time, each followed by another when it ends; ``count`` events a lane."""

    def work(lane: int, generation: int, share: int) -> None:
        for first in range(0, share, STEP):
            last = min(first + STEP, share)
            for i in range(first, last):
                trace_tiny("lane", "step", "", "{} {} {}", lane, generation, i)
            progress.add(lane, last - first)

    def lane_of_threads(lane: int) -> None:
        for generation, share in enumerate(shares(count, generations, seed + lane)):
            thread = threading.Thread(target=work, args=(lane, generation, share))
            thread.start()
            thread.join()

    sys.setswitchinterval(0.0005)  # so that they are truly at work at the same time
    growth = Growth()
    recorder = gpu_narration.start(trace, **_QUIET)
    begin = time.perf_counter_ns()
    managers = [threading.Thread(target=lane_of_threads, args=(n,)) for n in range(lanes)]
    for manager in managers:
        manager.start()
    for manager in managers:
        manager.join()
        growth.look()
    stats = recorder.stop()
    return {
        "elapsed_ns": time.perf_counter_ns() - begin,
        "stats": stats,
        "growth_bytes": growth.most,
    }


def doomed(
    trace: Path, progress: Progress, *, slots: int, pause_every: int, ring_bytes: int
) -> None:
    """Records without end; ``pause_every`` 0: as fast as it goes."""

    def work(slot: int) -> None:
        name = f"slot_{slot}"
        for i in range(1 << 60):
            trace_tiny("doomed", name, "", "{} {}", i, "some text")
            progress.store(slot, i + 1)
            if pause_every and i % pause_every == 0:
                time.sleep(0.0005)

    gpu_narration.start(trace, ring_bytes=ring_bytes, **_QUIET)
    for slot in range(1, slots):
        threading.Thread(target=work, args=(slot,), daemon=True).start()
    work(0)


WORKS: dict[str, Callable[..., dict[str, Any] | None]] = {
    "events": events,
    "strings": strings,
    "threads": threads,
    "doomed": doomed,
}

if __name__ == "__main__":
    _, work_name, trace_path, progress_path, options = sys.argv
    print(
        json.dumps(
            WORKS[work_name](Path(trace_path), Progress(Path(progress_path)), **json.loads(options))
        )
    )
