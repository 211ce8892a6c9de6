"""One part of the measuring, in a process of its own: a part that dies takes no other along.

``python -m bench.gpu_check.part NAME --out FILE [--simulate] [--quick] [--backend NAME]``
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.gpu_check import accuracy, overhead, pair_cost, placement, rivals, selected, syncs
from bench.gpu_check.machines import CupyMachine, Machine, SimulatedMachine
from bench.gpu_check.plan import QUICK, Plan

Measure = Callable[[Machine, Plan, Path], object]


def _rival(name: str, machine: Machine, plan: Plan, _directory: Path) -> object:
    return rivals.measure(machine, plan, name)


PARTS: dict[str, Measure] = {
    "device": lambda machine, _plan, _directory: machine.facts(),
    "accuracy": accuracy.measure,
    "pair cost": pair_cost.measure,
    "overhead": overhead.measure,
    "placement": placement.measure,
    "syncs": syncs.measure,
    "selected": selected.measure,
    **{f"rival {name}": partial(_rival, name) for name in rivals.NEEDS},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(PARTS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    machine: Machine = SimulatedMachine() if options.simulate else CupyMachine(options.backend)
    with tempfile.TemporaryDirectory(prefix="gpu_check-") as directory:
        found = PARTS[options.name](machine, QUICK if options.quick else Plan(), Path(directory))
    options.out.write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
