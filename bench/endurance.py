"""The recorder at full length: nothing lost, memory flat, threads that come and go, kills.

Each run records in a process of its own and is judged by what is read back from
its trace; traces are deleted afterwards.

    python bench/endurance.py events                    # 100 M events, some 2 GB of disk
    python bench/endurance.py threads --count 200000    # of each of 16 threads
    python bench/endurance.py kills --count 50 --json
    python bench/endurance.py all --scale 0.01

Exit status: 0 if every claim holds, 1 if one does not, 2 if a run is not possible.
"""

from __future__ import annotations

import argparse
import json
import mmap
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bar

import endurance_checks as checks
import machine
from endurance_work import shares
from gpu_narration.tracefile import Trace

WORK = Path(__file__).with_name("endurance_work.py")
LANES = 16
GENERATIONS = 5
SLOTS = 4
MIB = 1 << 20


class NotPossible(Exception):  # noqa: N818 - a finding, told as such
    """Why a run cannot be made here."""


@dataclass
class Verdict:
    """One run: its figures, and each claim with whether it holds."""

    name: str
    figures: dict[str, object] = field(default_factory=dict)
    claims: dict[str, bool] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return all(self.claims.values())


@dataclass(frozen=True)
class Settings:
    """What the command line asks of all runs."""

    directory: Path
    least_rate: float
    seed: int
    bar: Bar


@dataclass(frozen=True)
class Workplace:
    """Where one recording goes, and the counters that its process shares."""

    trace: Path
    progress: Path

    def begin(self, work: str, counters: int, **options: object) -> subprocess.Popen[str]:
        self.progress.write_bytes(bytes(8 * counters))
        command = [sys.executable, WORK, work, self.trace, self.progress, json.dumps(options)]
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def counters(self) -> list[int]:
        data = self.progress.read_bytes()
        return list(struct.unpack(f"<{len(data) // 8}Q", data))


@contextmanager
def workplace(settings: Settings, needed_bytes: int) -> Iterator[Workplace]:
    with tempfile.TemporaryDirectory(prefix="endurance-", dir=settings.directory) as name:
        free = shutil.disk_usage(name).free
        if free < needed_bytes:
            raise NotPossible(
                f"{settings.directory} has {free >> 20} MiB free and {needed_bytes >> 20} are needed; "
                "give another --directory or a smaller --count"
            )
        yield Workplace(Path(name) / "t.gnt", Path(name) / "progress")


def run_work(
    settings: Settings, place: Workplace, work: str, slots: int, total: int, **options: object
) -> dict[str, Any]:
    """Runs a work to its end; its figures."""
    process = place.begin(work, slots, **options)
    task = settings.bar.add_task(work, total=total)
    while process.poll() is None:
        settings.bar.update(task, completed=sum(place.counters()))
        time.sleep(0.1)
    output, errors = process.communicate()
    if process.returncode != 0:
        raise NotPossible(f"the recording of {work} ended with {process.returncode}:\n{errors}")
    settings.bar.update(task, completed=total, description=f"reading {work}")
    figures: dict[str, Any] = json.loads(output)
    return figures


def judge_count(verdict: Verdict, trace: Trace, figures: dict[str, Any], count: int) -> None:
    """Of a recording that ended well: all is there, and nothing else is told of it."""
    found = checks.counted(trace)
    lost = count - found.events
    verdict.figures |= {
        "events": count,
        "lost": lost,
        "seconds": round(figures["elapsed_ns"] / 1e9, 2),
        "events_per_s": round(count / (figures["elapsed_ns"] / 1e9)),
        "waits": figures["stats"]["waits"],
        "clock": trace.processes[0].note("process")["clock"],
        "growth_MiB": {
            kind: round(size / MIB, 2) for kind, size in figures["growth_bytes"].items()
        },
    }
    verdict.claims["nothing is lost"] = lost == 0 and figures["stats"]["dropped"] == 0
    verdict.claims["the trace is whole"] = (
        not found.missing and not found.damaged_bytes and not found.notices
    )


def run_events(settings: Settings, count: int) -> Verdict:
    verdict = Verdict("events")
    with workplace(settings, 48 * count + (64 << 20)) as place:
        figures = run_work(settings, place, "events", 1, count, count=count)
        trace = Trace(place.trace)
        judge_count(verdict, trace, figures, count)
        size = sum(file.stat().st_size for file in place.trace.iterdir())
        looked, wrong = checks.wrong_in_sample(trace, 50)
    verdict.figures |= {
        "bytes_per_event": round(size / count, 1),
        "decoded_in_full": looked,
        "decoded_wrong": wrong,
    }
    rate = count / (figures["elapsed_ns"] / 1e9)
    verdict.claims["what is decoded is what was recorded"] = looked > 0 and wrong == 0
    verdict.claims["memory grows by less than 20 MiB"] = figures["growth_bytes"]["VmRSS"] < 20 * MIB
    verdict.claims["at most 48 bytes an event"] = size <= 48 * count + 4096
    if settings.least_rate:
        verdict.claims[f"at least {settings.least_rate:,.0f} events/s"] = (
            rate >= settings.least_rate
        )
    return verdict


def run_strings(settings: Settings, count: int) -> Verdict:
    verdict = Verdict("strings")
    with workplace(settings, 64 * count + (64 << 20)) as place:
        figures = run_work(settings, place, "strings", 1, count, count=count)
        judge_count(verdict, Trace(place.trace), figures, count)
    after = figures["growth_after_a_tenth_bytes"]
    verdict.figures["growth_after_a_tenth_MiB"] = {
        kind: round(size / MIB, 2) for kind, size in after.items()
    }
    verdict.claims["memory is flat after the first tenth (less than 1 MiB)"] = after["VmRSS"] < MIB
    return verdict


def run_threads(settings: Settings, count: int) -> Verdict:
    verdict = Verdict("threads")
    total = LANES * count
    planned = {
        (lane, generation): share
        for lane in range(LANES)
        for generation, share in enumerate(shares(count, GENERATIONS, settings.seed + lane))
    }
    with workplace(settings, 64 * total + (64 << 20)) as place:
        figures = run_work(
            settings, place, "threads", LANES, total,
            lanes=LANES, count=count, generations=GENERATIONS, seed=settings.seed,
        )  # fmt: skip
        trace = Trace(place.trace)
        judge_count(verdict, trace, figures, total)
        order = checks.order_of_threads(trace, planned)
    verdict.figures |= {
        "at_a_time": LANES,
        "threads": order.threads,
        "out_of_order": order.out_of_order,
        "wrong_totals": order.wrong_totals,
    }
    verdict.claims["every thread made the events it should"] = not order.wrong_totals
    verdict.claims["order is kept in each thread"] = order.out_of_order == 0
    return verdict


def kill_one(settings: Settings, dice: random.Random) -> checks.Wreck:
    """Kills one recording at a random moment and reads what it left."""
    slots = dice.choice([1, 1, SLOTS])
    pause_every = dice.choice([0, 10, 100])
    with workplace(settings, 256 << 20) as place:
        process = place.begin(
            "doomed", slots, slots=slots, pause_every=pause_every,
            ring_bytes=dice.choice([512 << 10, 8 << 20]),
        )  # fmt: skip
        with place.progress.open("r+b") as file, mmap.mmap(file.fileno(), 0) as counters:
            if dice.random() < 0.9:  # else it may not even have begun
                while process.poll() is None and not counters[0:8].strip(b"\0"):
                    time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.25 if pause_every else 0.04))
        process.kill()
        process.communicate()
        return checks.wreck(place.trace, place.counters())


def run_kills(settings: Settings, count: int) -> Verdict:
    dice = random.Random(settings.seed)
    task = settings.bar.add_task("kills", total=count)
    wrecks = []
    for _ in range(count):
        wrecks.append(kill_one(settings, dice))
        settings.bar.advance(task)
    verdict = Verdict("kills")
    verdict.figures |= {
        "kills": count,
        "returned": sum(wreck.returned for wreck in wrecks),
        "missing": sum(wreck.missing for wreck in wrecks),
        "surplus": sum(wreck.surplus for wreck in wrecks),
        "with_events_only_in_the_ring": sum(wreck.ring_bytes > 0 for wreck in wrecks),
        "with_a_torn_tail": sum(wreck.torn_bytes > 0 for wreck in wrecks),
        "before_any_event": sum(wreck.returned == 0 for wreck in wrecks),
        "troubles": [text for wreck in wrecks for text in wreck.troubles],
        "seed": settings.seed,
    }
    verdict.claims["no event is missing whose call had returned"] = not any(
        wreck.missing for wreck in wrecks
    )
    verdict.claims["none is there twice or out of order"] = not any(w.surplus for w in wrecks)
    verdict.claims["a death is all that is told"] = not any(w.troubles for w in wrecks)
    verdict.claims["there was something to lose"] = (
        sum(w.ring_bytes > 0 for w in wrecks) > count / 5
    )
    return verdict


#: Each run and its size at full length.
RUNS: dict[str, tuple[Callable[[Settings, int], Verdict], int, str]] = {
    "events": (run_events, 100_000_000, "light events with two ints: rate, loss, memory, bytes"),
    "threads": (run_threads, 1_000_000, f"events of each of {LANES} threads, born and dying"),
    "kills": (run_kills, 300, "kill -9 at random moments"),
    "strings": (run_strings, 50_000_000, "events with a new text of 30 bytes each"),
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="figures and verdicts as JSON")
    common.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()),
                        help="where traces go meanwhile (default: %(default)s)")  # fmt: skip
    common.add_argument("--least-rate", type=float, default=5e6, metavar="N",
                        help="events/s that 'events' must reach, 0: not judged (default: %(default).0f)")  # fmt: skip
    common.add_argument("--seed", type=int, default=1, help="of what is random (default: %(default)s)")  # fmt: skip
    verbs = made.add_subparsers(dest="run", required=True)
    for name, (_, count, what) in RUNS.items():
        verb = verbs.add_parser(name, parents=[common], help=f"{count:,} {what}", description=what)
        verb.add_argument("--count", type=int, default=count, help="default: %(default)s")
    both = verbs.add_parser("all", parents=[common], help="all of them, one after the other")
    both.add_argument("--scale", type=float, default=1.0, help="of full length (default: %(default)s)")  # fmt: skip
    return made


def counts(options: argparse.Namespace) -> dict[str, int]:
    """How long each run is that was asked for."""
    if options.run != "all":
        return {options.run: options.count}
    return {name: max(20, int(full * options.scale)) for name, (_, full, _) in RUNS.items()}


def main() -> int:
    options = parser().parse_args()
    asked = counts(options)
    if min(asked.values()) < 20:
        print("endurance: fewer than 20 prove nothing; give a larger --count", file=sys.stderr)
        return 2
    facts = machine.facts(directory=str(options.directory))
    verdicts = []
    with Bar(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        settings = Settings(options.directory, options.least_rate, options.seed, bar)
        for name, count in asked.items():
            try:
                verdicts.append(RUNS[name][0](settings, count))
            except NotPossible as reason:
                print(f"endurance: {reason}", file=sys.stderr)
                return 2
    if options.json:
        runs = [{"run": v.name, "holds": v.holds, "claims": v.claims, "figures": v.figures} for v in verdicts]  # fmt: skip
        print(json.dumps({"machine": facts, "runs": runs}, indent=2))
    else:
        print(machine.line(facts))
        for verdict in verdicts:
            show(verdict)
    return 0 if all(verdict.holds for verdict in verdicts) else 1


def show(verdict: Verdict) -> None:
    print(f"\n{verdict.name}")
    for name, figure in verdict.figures.items():
        print(f"  {name:32}{figure:,}" if isinstance(figure, int) else f"  {name:32}{figure}")
    for claim, holds in verdict.claims.items():
        print(f"  {'holds' if holds else 'FAILS':8}{claim}")


if __name__ == "__main__":
    sys.exit(main())
