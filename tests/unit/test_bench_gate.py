"""The gate of the benchmarks fails past a ceiling, and for nothing else."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest

import callgrind
import check
import gate
import instructions
from calls import CASES, STATES
from gate import Budget, Outcome, Unknown

FIGURES = gate.figure_budgets()
GATED = [budget for budget in FIGURES if budget.gated]
CEILING = Budget("cost", "a cost", must=3.0)
FLOOR = Budget("gain", "a gain", must=100, at_least=True)


def within() -> dict[str, float | Unknown]:
    """Every figure just at its limit."""
    return {budget.key: float(budget.must) for budget in FIGURES}


def past(budget: Budget) -> float:
    """Just on the wrong side of the limit."""
    return math.nextafter(budget.must, -math.inf if budget.at_least else math.inf)


def status(figures: dict[str, float | Unknown]) -> int:
    """The exit status of bench-check for these figures."""
    return check.exit_status(gate.judge(FIGURES, figures))


def test_figures_at_their_limits_pass() -> None:
    assert status(within()) == 0


@pytest.mark.parametrize("budget", GATED, ids=lambda budget: budget.key)
def test_one_figure_past_its_limit_fails(budget: Budget) -> None:
    """GIVEN all figures at their limits WHEN one goes past THEN bench-check fails."""
    assert status({**within(), budget.key: past(budget)}) == 1


def test_a_time_past_its_limit_is_shown_and_does_not_fail() -> None:
    budget = Budget("ns", "a time", must=250, unit="ns", gated=False)
    (verdict,) = gate.judge([budget], {"ns": 900.0})
    assert (verdict.outcome, verdict.failed) == (Outcome.SHOWN, False)


def test_no_gated_figure_is_a_time() -> None:
    assert {budget.unit for budget in GATED} == {"ratio", "B"}


def test_a_figure_that_is_no_number_fails() -> None:
    verdicts = gate.judge([CEILING, FLOOR], {"cost": math.nan, "gain": math.nan})
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PAST, Outcome.PAST]


def test_a_figure_that_nobody_measured_fails() -> None:
    figures = within()
    del figures["tiny_recording"]
    assert status(figures) == 1


def test_a_figure_unknown_for_a_reason_is_skipped_with_it() -> None:
    (verdict,) = gate.judge([CEILING], {"cost": Unknown("no valgrind")})
    assert (verdict.outcome, verdict.reason) == (Outcome.SKIPPED, "no valgrind")
    assert not verdict.failed


def test_a_figure_without_a_budget_is_refused() -> None:
    with pytest.raises(LookupError, match="'new'"):
        gate.judge([CEILING], {"cost": 1.0, "new": 1.0})


# ---- measuring again ----


def test_a_ratio_past_its_limit_counts_only_if_it_is_so_in_more_turns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[int] = []

    def measure(turns: int) -> dict[str, float | Unknown]:
        asked.append(turns)
        return within() if turns > check.TURNS else {**within(), "tiny_recording": 3.1}

    assert check.exit_status(check.check_ratios(measure)) == 0
    assert asked == [check.TURNS, check.TURNS_AGAIN]
    assert "trace_tiny, recording" in capsys.readouterr().out


def test_a_ratio_past_its_limit_twice_fails() -> None:
    figures = {**within(), "tiny_recording": 3.1}
    assert check.exit_status(check.check_ratios(lambda _turns: figures)) == 1


def test_ratios_within_their_limits_are_measured_once() -> None:
    asked: list[int] = []

    def measure(turns: int) -> dict[str, float | Unknown]:
        asked.append(turns)
        return within()

    check.check_ratios(measure)
    assert asked == [check.TURNS]


# ---- instruction ceilings ----


def tables() -> dict[str, dict[str, int]]:
    """The ceilings of each Python, on all architectures."""
    known = tomllib.loads(gate.BUDGETS.read_text(encoding="utf-8"))["instructions"]
    return {
        f"{architecture} {python}": ceilings
        for architecture, pythons in known.items()
        for python, ceilings in pythons.items()
    }


@pytest.mark.parametrize("table", tables())
def test_every_call_in_every_state_has_a_ceiling(table: str) -> None:
    calls = {f"{state}/{case.name}" for state in STATES for case in CASES}
    assert set(tables()[table]) == {"import", *calls}


def test_ceilings_leave_a_tenth_and_a_few() -> None:
    assert instructions.ceilings({"off/f": 25.0, "on/f": 400.0, "gone/f": Unknown("no tool")}) == {
        "off/f": 30,
        "on/f": 443,
    }


def test_a_call_half_as_dear_again_is_past_its_ceiling() -> None:
    counts: dict[str, float | Unknown] = {"on/f": 300.0, "off/f": 11.0}
    budgets = [Budget(key, key, must) for key, must in instructions.ceilings(counts).items()]
    dearer = {"on/f": 450.0, "off/f": 16.5}
    assert [verdict.outcome for verdict in gate.judge(budgets, counts)] == [Outcome.OK] * 2
    assert [verdict.outcome for verdict in gate.judge(budgets, dearer)] == [Outcome.PAST] * 2


def test_new_ceilings_replace_those_of_the_same_python_only() -> None:
    text = "# kept\n[figures.f]\nmust = 1\n"
    for name, limit in (("3.12", 7), ("3.11", 5), ("3.12", 8)):
        where = f'instructions.x86_64."{name}"'
        text = instructions.with_ceilings(
            text, where, f"Python {name}.1 (a compiler)", {"f": limit}
        )
    assert tomllib.loads(text) == {
        "figures": {"f": {"must": 1}},
        "instructions": {"x86_64": {"3.11": {"f": 5}, "3.12": {"f": 8}}},
    }
    assert text.startswith("# kept\n")
    assert text.count("# Python 3.12.1 (a compiler)") == 1


# ---- callgrind's files ----

DUMP = """\
version: 1
part: 1
events: Ir

ob=/lib/python
fl=???
fn=loop
0 100
cob=/lib/core.so
cfi=???
cfn=trace
calls=2 0
0 60
cfn=loop_end
calls=1 0
0 5
0 7
ob=/lib/core.so
fn=trace
0 40
cob=/lib/libtool.so
cfn=mark
calls=2 0
0 20
totals: 167
"""


def test_a_dump_is_read_by_function_and_by_what_was_entered(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_text(DUMP, encoding="utf-8")
    section = callgrind.read(path)
    assert section.total == 167
    assert section.own == {("python", "loop"): 107, ("core.so", "trace"): 40}
    assert section.entered == {"core.so": 60, "libtool.so": 20}


@pytest.mark.skipif(callgrind.missing() is not None, reason=callgrind.missing() or "")
def test_twice_the_calls_are_twice_the_instructions(tmp_path: Path) -> None:
    """GIVEN sections of 1000, 2000 and 3000 calls THEN each thousand counts the same."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os\n"
        "def run(count):\n"
        "    for _ in range(count): len('')\n"
        "for count in (1000, 1000, 1000, 2000, 3000):\n"
        "    run(count)\n"
        "    os.getpgrp()\n",
        encoding="utf-8",
    )
    sections = callgrind.count(program, [], tmp_path, {})
    assert len(sections) == 6
    one, two, three = (section.total for section in sections[2:5])  # the first two warm up
    assert abs((three - two) - (two - one)) < 100
    assert two - one > 50_000


@pytest.mark.skipif(callgrind.missing() is not None, reason=callgrind.missing() or "")
def test_a_program_that_fails_is_no_count(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("raise SystemExit(7)\n", encoding="utf-8")
    with pytest.raises(callgrind.ProgramError) as caught:
        callgrind.count(program, [], tmp_path, {})
    assert caught.value.status == 7
