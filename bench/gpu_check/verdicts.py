"""What must hold, and whether the figures show it.

``ok`` is None where the figures do not show it either way: on a GPU that is a failure
like any other.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from bench.gpu_check.overhead import SAMPLED

MAX_RATIO = 1.02
MAX_ERROR_NS = 3_000
FROM_LENGTH_NS = 50_000
BUDGETED_MIX = "realistic mix"

#: Skipped for this, the contract was not tried on the GPU that is measured.
_NOT_ON_A_GPU = re.compile(r"no (cupy|driver) backend")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``must`` names the claim with its limit, ``found`` what was measured."""

    must: str
    ok: bool | None
    found: str

    def as_object(self) -> dict[str, object]:
        return asdict(self)


def judge(parts: dict[str, Any]) -> list[Verdict]:
    """The verdicts on the parts' results; a part that failed is ``{"failed": …}``."""
    return [
        _tests(_result(parts, "tests")),
        _overhead(_result(parts, "overhead")),
        *_accuracy(_result(parts, "accuracy")),
        _syncs(_result(parts, "syncs")),
        _placement(_result(parts, "placement")),
        *_selected(_result(parts, "selected")),
    ]


def _result(parts: dict[str, Any], name: str) -> Any:
    """A part's result; None where there is none."""
    found = parts.get(name)
    return None if isinstance(found, dict) and "failed" in found else found


def _tests(found: Any) -> Verdict:
    must = "the contract and GPU tests pass"
    if not found:
        return Verdict(must, None, "no test was run")
    shown = ", ".join(f"{found[key]} {key}" for key in ("passed", "failures", "errors", "skipped"))
    if found["failures"] or found["errors"] or found["exit_status"] != 0:
        return Verdict(must, False, shown)
    left_out = [reason for reason in found["skipped_because"] if _NOT_ON_A_GPU.search(reason)]
    if left_out or not found["passed"]:
        return Verdict(must, None, f"{shown}; not on the GPU: {'; '.join(left_out)}")
    return Verdict(must, True, shown)


def _overhead(rows: Any) -> Verdict:
    must = f"overhead at most {100 * (MAX_RATIO - 1):g} % on the {BUDGETED_MIX}"
    row = next((row for row in rows or [] if row["mix"] == BUDGETED_MIX), None)
    if row is None:
        return Verdict(must, None, "it was not measured")
    answers = row["answers"][SAMPLED]
    if not answers["launches_timed"] or answers["spans_timed"] < answers["spans"]:
        return Verdict(must, None, f"the loop was not timed as it should be: {answers}")
    ratio = row["ways"][SAMPLED]["median_ratio"]
    return Verdict(must, ratio <= MAX_RATIO, f"{100 * (ratio - 1):.2f} % ({SAMPLED})")


def _accuracy(rows: Any) -> list[Verdict]:
    must = f"error p99 at most {MAX_ERROR_NS} ns at {{}} ns"
    wanted = [
        row for row in rows or [] if row["way"] == "queued" and row["length_ns"] >= FROM_LENGTH_NS
    ]
    if not wanted:
        return [Verdict(must.format(FROM_LENGTH_NS), None, "it was not measured")]
    return [_one_length(must.format(row["length_ns"]), row) for row in wanted]


def _one_length(must: str, row: Any) -> Verdict:
    error = row["absolute_error"]
    if error is None:
        return Verdict(must, None, f"no launch was timed: {row['unknown']}")
    shown = f"{error['p99_ns']} ns, n = {error['n']}, unknown {sum(row['unknown'].values())}"
    return Verdict(must, error["p99_ns"] <= MAX_ERROR_NS, shown)


def _syncs(found: Any) -> Verdict:
    must = "no synchronising call on the traced thread"
    if not found:
        return Verdict(must, None, "it was not measured")
    if not found["proved"]:
        return Verdict(must, None, "the counter did not see the program's own call: no proof")
    if not found["answers"]["launches_timed"]:
        return Verdict(must, None, "nothing was timed while it was counted")
    added = found["added_synchronising_calls"]
    return Verdict(must, added == 0, f"{added} in {found['launches']} launches")


def _placement(found: Any) -> Verdict:
    must = "GPU work lies in its CPU window, within the error stated"
    if not found:
        return Verdict(must, None, "it was not measured")
    if not found["placed"]:
        return Verdict(must, None, f"nothing was placed: {found['not_placed']}")
    shown = f"{found['outside']} of {found['placed']} outside"
    return Verdict(must, found["outside"] == 0, shown)


def _selected(found: Any) -> list[Verdict]:
    """No verdict where there is no such tool: the report has the reason."""
    if isinstance(found, dict) and "absent" in found:
        return []
    must = "Nsight Compute selects the kernels inside our range, and no other"
    if not found:
        return [Verdict(must, None, "it was not tried")]
    if "denied" in found:
        return [Verdict(must, None, found["denied"])]
    shown = f"{found['selected']} of {found['launched']} selected, {found['inside']} are inside"
    return [Verdict(must, found["selected"] == found["inside"], shown)]
