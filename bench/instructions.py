"""How many instructions a call executes, counted by valgrind's callgrind.

    python bench/instructions.py
    python bench/instructions.py --functions recording/trace_tiny
    python bench/instructions.py --update-budgets

Counted are the instructions of the calling thread for two lengths of a loop, and the
difference is divided by the difference of the lengths: what a loop needs once falls out.
The same is done for the loop without the call and with an empty call.  The counts do not
depend on how busy or how fast the machine is, so they can be a gate.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import callgrind
import counted
import gate
import machine
import showing
import tool
from callgrind import Section
from calls import CASES, STATES, TOOL
from gate import Unknown

PROGRAM = Path(counted.__file__)
CALLS = counted.THREE - counted.ONE

#: What --update-budgets allows beyond what it counts: a share, and for the short paths a few.
HEADROOM, FEW = 1.10, 3
#: Imports also depend on what else is installed beside us.
IMPORT_HEADROOM = 1.25


@dataclass(frozen=True, slots=True)
class Counts:
    """Instructions of one call, the loop's own taken off, by "state/call"."""

    of: dict[str, float]
    importing: int
    functions: dict[str, Counter[tuple[str, str]]]
    unknown: dict[str, Unknown]

    def added(self) -> dict[str, float | Unknown]:
        """What a call executes more than its ruler, by "state/call"; and the import."""
        figures: dict[str, float | Unknown] = {"import": float(self.importing)}
        for state in STATES:
            for case in CASES:
                key = f"{state}/{case.name}"
                if state in self.unknown:
                    figures[key] = self.unknown[state]
                else:
                    figures[key] = self.of[key] - self.of[f"{key}: {case.rulers[0].name}"]
        return figures


def count() -> Counts | Unknown:
    """All states; one that cannot be had here is unknown, with its reason."""
    reason = callgrind.missing()
    if reason is not None:
        return Unknown(reason)
    counts = Counts({}, 0, {}, {})
    environment = tool.environment()
    with tempfile.TemporaryDirectory() as directory:
        try:
            importing = _take(counts, Path(directory), {}, tool=False)
        except callgrind.ProgramError as error:
            if error.status != counted.NO_COUNTER:
                raise
            return Unknown("the CPU's counter is not steady here: a tick is another path")
        if isinstance(environment, Unknown):
            counts.unknown[TOOL] = environment
        else:
            _take(counts, Path(directory), environment, tool=True)
    return Counts(counts.of, importing, counts.functions, counts.unknown)


def _take(counts: Counts, directory: Path, env: dict[str, str], *, tool: bool) -> int:
    """Adds what one run of counted.py gives; the instructions of the import."""
    names = counted.sections(tool=tool)
    sections = callgrind.count(PROGRAM, ["--tool"] if tool else [], directory, env)
    if len(sections) != len(names) + 1:
        raise RuntimeError(
            f"{len(sections)} sections, {len(names) + 1} expected: "
            f"does something else call {callgrind.MARKER}?"
        )
    by_name = dict(zip(names, sections, strict=False))
    loops: dict[str, float] = {}
    for name in names:
        key, _, length = name.rpartition("/")
        if length != "one":
            continue
        one, three = by_name[name], by_name[f"{key}/three"]
        loops[key] = (_ours(three) - _ours(one)) / CALLS
        counts.functions[key] = three.own.copy()
        counts.functions[key].subtract(one.own)
    for key, instructions in loops.items():
        counts.of[key] = instructions - loops[f"{key.partition(': ')[0]}: bare"]
    return by_name[counted.IMPORT].total


def _ours(section: Section) -> int:
    """Without what an attached tool does when it is told."""
    return section.total - section.entered[tool.LIBRARY]


# ---- ceilings ----

GENERATED = "# ---- written by `python bench/instructions.py --update-budgets` ----\n"


def ceilings(added: dict[str, float | Unknown]) -> dict[str, int]:
    """What the counts may become; what is unknown gets none."""
    return {
        key: int(value * (IMPORT_HEADROOM if key == "import" else HEADROOM)) + FEW
        for key, value in added.items()
        if not isinstance(value, Unknown)
    }


def with_ceilings(text: str, where: str, title: str, limits: dict[str, int]) -> str:
    """budgets.toml with the ceilings of one table replaced.

    `where` is the table's name as TOML writes it, `title` a comment: what was counted on.
    """
    head, _, generated = text.partition(GENERATED)
    parts = re.split(r"^(?=# Python )", generated, flags=re.MULTILINE)
    kept = [part for part in parts if part.strip() and f"[{where}]" not in part]
    lines = [f"# {title}", f"[{where}]", *(f'"{key}" = {limit}' for key, limit in limits.items())]
    tables = sorted([*(part.strip() for part in kept), "\n".join(lines)])
    return head + GENERATED + "\n" + "\n\n".join(tables) + "\n"


def update_budgets(added: dict[str, float | Unknown], path: Path = gate.BUDGETS) -> None:
    facts = machine.facts()
    title = f"Python {facts['python']} ({facts['compiler']})"
    where = f'instructions.{gate.architecture()}."{gate.python()}"'
    text = with_ceilings(path.read_text(encoding="utf-8"), where, title, ceilings(added))
    path.write_text(text, encoding="utf-8")


# ---- showing ----


def show(counts: Counts) -> None:
    print(machine.line(machine.facts()))
    print("instructions of one call; those of its ruler, then what each state adds to them\n")
    added = counts.added()
    rows = []
    for case in CASES:
        ruler = case.rulers[0].name
        cells = [added[f"{state}/{case.name}"] for state in STATES]
        rows.append(
            [
                case.name,
                f"{counts.of[f'{STATES[0]}/{case.name}: {ruler}']:.0f}",
                *("-" if isinstance(cell, Unknown) else f"+{cell:.0f}" for cell in cells),
                ruler,
            ]
        )
    showing.show(("", "ruler", *STATES, "ruler is"), rows)
    for state, unknown in counts.unknown.items():
        print(f"\n{state}: {unknown.reason}")
    print(f"\nimport gpu_narration: {counts.importing / 1e6:.1f} million")


def show_functions(counts: Counts, key: str) -> None:
    """Where the instructions of one call are, the loop included."""
    functions = counts.functions[key]
    print(f"{key}: instructions in each function, the loop included\n")
    rows = [
        (function, f"{spent / CALLS:.1f}", holder)
        for (holder, function), spent in functions.most_common()
        if spent / CALLS >= 0.5
    ]
    showing.show(("function", "a call", "in"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the counts as JSON")
    parser.add_argument(
        "--functions", metavar="STATE/CALL", help="by function, as in recording/trace_tiny"
    )
    parser.add_argument(
        "--update-budgets", action="store_true", help="make what is counted now the ceiling"
    )
    options = parser.parse_args()
    counts = count()
    if isinstance(counts, Unknown):
        print(f"nothing counted: {counts.reason}", file=sys.stderr)
        return 1
    if options.functions is not None and options.functions not in counts.functions:
        known = "\n  ".join(sorted(key for key in counts.functions if ": " not in key))
        print(f"nothing is called {options.functions!r}; known are\n  {known}", file=sys.stderr)
        return 2
    if options.update_budgets:
        update_budgets(counts.added())
    if options.json:
        print(json.dumps({"machine": machine.facts(), "instructions": counts.of}, indent=2))
    elif options.functions is not None:
        show_functions(counts, options.functions)
    else:
        show(counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
