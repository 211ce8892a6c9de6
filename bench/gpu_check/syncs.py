"""Whether tracing makes the traced thread wait for the GPU: its calls of the driver, counted.

``count_syncs.c`` is preloaded into this process and stands in front of the driver's
functions wherever a library asks for them.  First the program synchronises on purpose
and must be seen doing so; a counter that sees nothing proves nothing.  Then the same loop
runs bare and recorded, and every call that the recorded run made beyond the bare one is
the tracer's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

from bench.gpu_check import loops
from bench.gpu_check.machines import Machine
from bench.gpu_check.plan import Mix, Plan

#: Functions of the driver that make the caller wait for the GPU, or may.
SYNCHRONISING = (
    "cuCtxSynchronize", "cuStreamSynchronize", "cuEventSynchronize", "cuMemcpy", "cuMemFree",
)  # fmt: skip

Counts = dict[str, int]


class Counter:
    """The counts of the preloaded library; RuntimeError where it is not loaded."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        try:
            self._functions = library.count_syncs_functions
            self._name, self._mine = library.count_syncs_name, library.count_syncs_mine
            self._all = library.count_syncs_all
        except AttributeError as error:
            raise RuntimeError("count_syncs.so is not preloaded") from error
        self._name.restype = ctypes.c_char_p
        self._mine.restype = self._all.restype = ctypes.c_ulong

    def mine(self) -> Counts:
        """Calls of this thread so far, by function."""
        return self._read(self._mine)

    def all(self) -> Counts:
        """Calls of all threads."""
        return self._read(self._all)

    def _read(self, count: Callable[[int], int]) -> Counts:
        counts: Counts = {}
        for slot in range(self._functions()):
            name = self._name(slot).decode()
            counts[name] = counts.get(name, 0) + int(count(slot))
        return counts


def measure(machine: Machine, plan: Plan, directory: Path) -> dict[str, object]:
    counter = Counter()
    mix = plan.mixes[-1]
    lane = machine.lane()
    before = counter.mine()
    lane.wait()
    control = more(counter.mine(), before)
    loops.bare(lane, mix)()  # what happens once has happened
    bare = _bare(machine, mix, counter)
    before, before_all = counter.mine(), counter.all()
    recorded, others, timed = _recorded(machine, mix, counter, directory)
    whole = more(counter.mine(), before)
    whole_all = more(counter.all(), before_all)
    extra = more(recorded, bare)
    return {
        "method": "LD_PRELOAD in front of dlsym and cuGetProcAddress",
        "proved": synchronising(control) > 0,
        "control": control,
        "mix": mix.name,
        "launches": mix.launches,
        "bare": bare,
        "recorded": recorded,
        "added_on_the_traced_thread": extra,
        "added_synchronising_calls": synchronising(extra),
        "synchronising_calls_of_other_threads": synchronising(others),
        "with_start_and_stop": {
            "traced_thread": more(whole, bare),
            "all_threads": more(whole_all, bare),
        },
        "answers": timed,
    }


def more(after: Counts, before: Counts) -> Counts:
    """The calls in ``after`` that ``before`` does not have."""
    counts = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in sorted(counts.items()) if count}


def synchronising(counts: Counts) -> int:
    """How many of these calls wait for the GPU, or may."""
    return sum(count for name, count in counts.items() if name.startswith(SYNCHRONISING))


def _bare(machine: Machine, mix: Mix, counter: Counter) -> Counts:
    run = loops.bare(machine.lane(), mix)
    before = counter.mine()
    run()
    return more(counter.mine(), before)


def _recorded(
    machine: Machine, mix: Mix, counter: Counter, directory: Path
) -> tuple[Counts, Counts, dict[str, object]]:
    """The loop's calls on this thread, and on all others meanwhile."""
    seen: list[Counts] = []

    def counting(run: loops.Run) -> int:
        mine, everyone = counter.mine(), counter.all()
        run()
        mine, everyone = more(counter.mine(), mine), more(counter.all(), everyone)
        seen.extend((mine, more(everyone, mine)))
        return 0

    recording = loops.Recorded(machine, mix, directory, 1)
    recording.timed(counting)
    return seen[0], seen[1], recording.answers()
