"""The gate: figures against their ceilings.  Pure functions on numbers.

The ceilings are in budgets.toml.  A figure that is not known passes only with a reason,
and is shown with it; one that nobody measured fails.
"""

from __future__ import annotations

import enum
import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUDGETS = Path(__file__).with_name("budgets.toml")


@dataclass(frozen=True, slots=True)
class Budget:
    """What one figure may be."""

    key: str
    what: str
    must: float
    aim: float | None = None
    unit: str = "ratio"
    at_least: bool = False
    gated: bool = True


@dataclass(frozen=True, slots=True)
class Unknown:
    """In place of a figure: why it cannot be known here."""

    reason: str


class Outcome(enum.Enum):
    OK = "ok"
    PAST = "PAST"
    SHOWN = "shown"
    SKIPPED = "skipped"
    MISSING = "MISSING"


@dataclass(frozen=True, slots=True)
class Verdict:
    budget: Budget
    outcome: Outcome
    figure: float | None
    reason: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome in (Outcome.PAST, Outcome.MISSING)


def figure_budgets(path: Path = BUDGETS) -> list[Budget]:
    """Of the figures that ratios.py measures."""
    return [Budget(key, **entry) for key, entry in _read(path)["figures"].items()]


def python() -> str:
    """This Python as budgets.toml names it; the interpreter's code differs between them."""
    return ".".join(platform.python_version_tuple()[:2])


def architecture() -> str:
    """This machine as budgets.toml names it."""
    return platform.machine()


def instruction_budgets(path: Path = BUDGETS) -> list[Budget] | Unknown:
    """Of the counts that instructions.py makes on this architecture under this Python."""
    known = _read(path).get("instructions", {})
    ceilings: dict[str, int] | None = known.get(architecture(), {}).get(python())
    if ceilings is None:
        return Unknown(
            f"budgets.toml has no counts of Python {python()} on {architecture()}; "
            "`python bench/instructions.py --update-budgets` makes them"
        )
    return [
        Budget(key, key, must=ceiling, unit="instructions") for key, ceiling in ceilings.items()
    ]


def judge(budgets: list[Budget], figures: Mapping[str, float | Unknown]) -> list[Verdict]:
    """One verdict a budget, in their order.

    Raises LookupError for a figure that has no budget: it would pass unseen.
    """
    keys = {budget.key for budget in budgets}
    for key in figures:
        if key not in keys:
            raise LookupError(f"budgets.toml has no ceiling for {key!r}, which was measured")
    return [_judge(budget, figures.get(budget.key)) for budget in budgets]


def _judge(budget: Budget, figure: float | Unknown | None) -> Verdict:
    if figure is None:
        return Verdict(budget, Outcome.MISSING, None, "was not measured")
    if isinstance(figure, Unknown):
        return Verdict(budget, Outcome.SKIPPED, None, figure.reason)
    # Written so that a figure that is no number is past every limit.
    within = figure >= budget.must if budget.at_least else figure <= budget.must
    if not budget.gated:
        return Verdict(budget, Outcome.SHOWN, figure, "" if within else "past it; not gated")
    return Verdict(budget, Outcome.OK if within else Outcome.PAST, figure)


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
