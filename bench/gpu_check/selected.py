"""Whether a tool of NVIDIA's sees our ranges: Nsight Compute is to select kernels by one.

``ncu --nvtx --nvtx-include "gpu_narration@inside/"`` profiles what was launched while a
range of that name, in our domain, was pushed.  The program beneath launches three kernels
inside one and two outside; exactly three must be selected.  Its syntax is that of the
Nsight Compute CLI's manual, "NVTX Filtering".
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

from bench.gpu_check.machines import Machine
from bench.gpu_check.plan import Plan

INSIDE, OUTSIDE = 3, 2

_PATIENCE_S = 200
_PLACES = (
    "/usr/local/cuda/bin/ncu",
    "/usr/local/cuda-*/bin/ncu",
    "/opt/nvidia/nsight-compute/*/ncu",
)
#: How ncu says that only administrators may read the GPU's counters.
_DENIED = "ERR_NVGPUCTRPERM"

_PROGRAM = f"""
import sys
import gpu_narration as gn
from gpu_narration import cuda
from bench.gpu_check.machines import CupyMachine
lane = CupyMachine(sys.argv[2]).lane()
launch = lane.bare()
with gn.start(sys.argv[1], backend=sys.argv[2], nvtx="on", children=False):
    launch(1_000)
    with cuda.range("inside"):
        for _ in range({INSIDE}):
            launch(1_000)
    launch(1_000)
    lane.wait()
"""
assert _PROGRAM.count("launch(1_000)") == OUTSIDE + 1


def measure(machine: Machine, _plan: Plan, directory: Path) -> dict[str, object]:
    """How many kernels ncu selected, or why that is not known."""
    if machine.simulated:
        return {"absent": "the GPU is simulated: no tool sees it"}
    ncu = find_ncu()
    if ncu is None:
        return {"absent": "ncu of Nsight Compute is not on PATH, in /usr/local/cuda or /opt/nvidia"}
    return selected_by(ncu, machine.backend, directory)


def find_ncu() -> str | None:
    """The ``ncu`` of PATH, else one where installers put it."""
    found = shutil.which("ncu")
    if found is not None:
        return found
    there = [path for place in _PLACES for path in Path("/").glob(place[1:]) if path.is_file()]
    return str(max(there)) if there else None


def selected_by(ncu: str, backend: str, directory: Path) -> dict[str, object]:
    """Runs the program under ncu; how many launches it profiled."""
    program = directory / "inside.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    # One pass and one cheap figure: the launches are counted, nothing is measured.
    command = [
        ncu, "--nvtx", "--nvtx-include", "gpu_narration@inside/", "--metrics",
        "gpu__time_duration.sum", "--csv", "--page", "raw",
        sys.executable, "-P", str(program), str(directory / "inside.gnt"), backend,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failed": f"ncu did not end within {_PATIENCE_S} s"}
    output = done.stdout + done.stderr
    facts: dict[str, object] = {"command": " ".join(command[:9]), "ncu": _version_of(ncu)}
    if _DENIED in output:
        return {**facts, "denied": f"{_DENIED}: the GPU's counters are for administrators here"}
    if done.returncode != 0:
        return {"failed": f"ncu ended with {done.returncode}: {output}"[-2000:]}
    kernels = kernels_of(done.stdout)
    return {**facts, "launched": INSIDE + OUTSIDE, "inside": INSIDE, "selected": len(kernels),
            "kernels": kernels}  # fmt: skip


def kernels_of(output: str) -> list[str]:
    """The names of the profiled launches: a table in quotes behind lines that begin with ``==``.

    Its second line holds the units, and has no id.
    """
    lines = [line for line in output.splitlines() if line.startswith('"')]
    return [row["Kernel Name"] for row in csv.DictReader(lines) if row.get("ID")]


def _version_of(ncu: str) -> str | None:
    done = subprocess.run([ncu, "--version"], capture_output=True, text=True, check=False)
    return next((line for line in done.stdout.splitlines() if line.startswith("Version")), None)
