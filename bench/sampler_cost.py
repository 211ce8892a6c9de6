"""What watching device memory costs a process: at rest, and while memory moves.

Three kinds of processes are measured in turns in one run: one that records without
watching (the baseline), one whose memory rests, and one whose memory moves with every
reading.  Each does nothing else, so what it uses is the recorder's.  NVML is the fake
one of the tests, whose calls burn a given time of the processor; so this measures the
sampler, and no GPU and no driver.

    python bench/sampler_cost.py
    python bench/sampler_cost.py --devices 16 --call-us 12 --json

Shares are parts of one core, and ratios are to the baseline of the same turn; the
figure to quote is the median over the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FAKE = Path(__file__).resolve().parents[1] / "tests" / "native" / "fake_nvml"
GIB = 1 << 30

#: Runs in the measured process: settles, then counts over a while in which it sleeps.
PROGRAM = """
import json, sys, threading, time
from pathlib import Path
import gpu_narration
settle_s, measure_s, vram = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "on"

def wakes():
    found = {}
    for task in Path("/proc/self/task").iterdir():
        status = dict(line.split(":\\t", 1) for line in (task / "status").read_text().splitlines()
                      if ":\\t" in line)
        found[int(task.name)] = int(status["voluntary_ctxt_switches"])
    return found

gpu_narration.start("cost", vram=vram, nvtx="off", children=False, overwrite=True)
time.sleep(settle_s)
watcher = next((thread.native_id for thread in threading.enumerate()
                if thread.name == "gpu_narration-watcher"), None)
before, cpu_s, begin_s = wakes(), time.process_time(), time.monotonic()
time.sleep(measure_s)
cpu_s, elapsed_s, after = time.process_time() - cpu_s, time.monotonic() - begin_s, wakes()
woken = {thread: count - before.get(thread, 0) for thread, count in after.items()}
print(json.dumps({
    "share": cpu_s / elapsed_s,
    "watcher_wakes_per_s": woken.get(watcher, 0) / elapsed_s,
    "process_wakes_per_s": (sum(woken.values()) - 1) / elapsed_s,  # less our own sleep
}))
gpu_narration.stop()
"""

STATES = {"baseline": "off", "at rest": "on", "moving": "on"}


def build(directory: Path) -> None:
    """The fake library, where the loader looks for NVML."""
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [
            compiler, "-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-pthread",
            "-fvisibility=hidden", *map(str, sorted(FAKE.glob("*.c"))),
            "-o", str(directory / "libnvidia-ml.so.1"),
        ],
        check=True,
    )  # fmt: skip


def script(devices: int, call_us: int, *, moving: bool) -> str:
    """The machine; memory that moves does so by more than its threshold at every reading."""
    lines = [f"burn_us {call_us}"]
    for index in range(devices):
        lines.append(f"device GPU-{index:04x} {80 * GIB} {GIB} 0")
        if moving:
            lines.append(f"grow {16 << 20}")
    return "\n".join(lines) + "\n"


def measure(directory: Path, state: str, options: argparse.Namespace) -> dict[str, float]:
    """One process in one state."""
    machine = directory / "machine.txt"
    machine.write_text(script(options.devices, options.call_us, moving=state == "moving"))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GPU_NARRATION")
    }
    done = subprocess.run(
        [
            sys.executable, "-c", PROGRAM,
            str(options.settle_s), str(options.seconds), STATES[state],
        ],
        cwd=directory,
        env={
            **environment,
            "LD_LIBRARY_PATH": str(directory),
            "FAKE_NVML_SCRIPT": str(machine),
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(options.devices))),
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"the measured process failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", type=int, default=1, help="GPUs that are watched")
    parser.add_argument(
        "--call-us", type=int, default=12, help="processor time that a reading burns, in µs"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a process is measured")
    parser.add_argument(
        "--settle-s", type=float, default=8.0, help="how long it has to come to rest before"
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    turns: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        build(directory)
        for turn in range(options.turns):
            turns.append({state: measure(directory, state, options) for state in STATES})
            print(f"turn {turn + 1} of {options.turns}", file=sys.stderr)
    summary = {
        state: {
            **{
                key: statistics.median(turn[state][key] for turn in turns)
                for key in turns[0][state]
            },
            "ratio": statistics.median(
                turn[state]["share"] / turn["baseline"]["share"] for turn in turns
            ),
        }
        for state in STATES
    }
    if options.json:
        facts = {"machine": platform.machine(), "cores": os.cpu_count(), **vars(options)}
        print(json.dumps({"options": facts, "states": summary, "turns": turns}, indent=2))
        return
    print(
        f"{options.devices} device(s), {options.call_us} µs a call, fake NVML, "
        f"medians of {options.turns} turns of {options.seconds:g} s\n"
    )
    print(
        f"{'':10}  {'of one core':>11}  {'ratio':>6}  {'wake-ups/s: watcher':>19}  {'process':>8}"
    )
    for state, row in summary.items():
        print(
            f"{state:10}  {row['share']:>11.3%}  {row['ratio']:>6.1f}  "
            f"{row['watcher_wakes_per_s']:>19.1f}  {row['process_wakes_per_s']:>8.1f}"
        )


if __name__ == "__main__":
    main()
