"""Fails when the recorder costs more than budgets.toml allows.

    python bench/check.py                    ratios and instruction counts
    python bench/check.py --only instructions

It fails by ratio or by instruction count, never by time.  A ratio past its ceiling is
measured once more, in more turns, before it counts.

Exit status: 0 all within, 1 something past its ceiling or not measured, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gate
import instructions
import machine
import ratios
import showing
from gate import Outcome, Unknown, Verdict

Figures = dict[str, float | Unknown]

TURNS, TURNS_AGAIN = 240, 900


def check_ratios(measure: Callable[[int], Figures] | None = None) -> list[Verdict]:
    """`measure` takes the number of turns; by default it is ratios.measure."""
    measure = measure or _measure
    verdicts = gate.judge(gate.figure_budgets(), measure(TURNS))
    past = [verdict.budget.what for verdict in verdicts if verdict.failed]
    if not past:
        return verdicts
    print(f"past the ceiling, measured again in more turns: {'; '.join(past)}", flush=True)
    return gate.judge(gate.figure_budgets(), measure(TURNS_AGAIN))


def _measure(turns: int) -> Figures:
    with tempfile.TemporaryDirectory() as directory:
        figures = ratios.measure(Path(directory), turns)
    return {
        key: figure if isinstance(figure, Unknown) else figure.median
        for key, figure in figures.items()
    }


def check_instructions() -> list[Verdict] | Unknown:
    budgets = gate.instruction_budgets()
    if isinstance(budgets, Unknown):
        return budgets
    counts = instructions.count()
    return counts if isinstance(counts, Unknown) else gate.judge(budgets, counts.added())


def report(title: str, verdicts: list[Verdict] | Unknown) -> None:
    print(f"\n{title}")
    if isinstance(verdicts, Unknown):
        print(f"  skipped: {verdicts.reason}")
        return
    rows = []
    for verdict in verdicts:
        sign = "≥" if verdict.budget.at_least else "≤"
        rows.append(
            [
                verdict.outcome.value,
                f"{showing.number(verdict.figure)}",
                f"{sign} {showing.number(verdict.budget.must)}",
                verdict.budget.unit,
                f"{verdict.budget.what}  {verdict.reason}".rstrip(),
            ]
        )
    showing.show(("", "figure", "limit", "", ""), rows)


def summary(verdicts: list[Verdict], skipped: list[str]) -> str:
    counts = dict.fromkeys(Outcome, 0)
    for verdict in verdicts:
        counts[verdict.outcome] += 1
    text = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
    return f"bench-check: {text or 'nothing measured'}" + "".join(
        f"; {title} skipped" for title in skipped
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only",
        choices=("ratios", "instructions"),
        help="instructions is for machines that others use too: counts do not depend on them",
    )
    options = parser.parse_args()
    begin = time.monotonic()
    print(machine.line(machine.facts()))
    verdicts: list[Verdict] = []
    skipped = []
    for title, check in (("instructions", check_instructions), ("ratios", check_ratios)):
        if options.only not in (None, title):
            continue
        found = check()
        report(title, found)
        if isinstance(found, Unknown):
            skipped.append(title)
        else:
            verdicts += found
    print(f"\n{summary(verdicts, skipped)} in {time.monotonic() - begin:.0f} s")
    return exit_status(verdicts)


def exit_status(verdicts: list[Verdict]) -> int:
    return int(any(verdict.failed for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
