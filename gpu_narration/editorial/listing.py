"""Findings as objects, and how many there are of each rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from gpu_narration.editorial.finding import Finding
from gpu_narration.editorial.rules import RULES


def as_object(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it: lines and columns from 1, the end behind the last character."""
    span = finding.span
    return {
        "code": finding.code,
        "name": RULES[finding.code].name,
        "message": finding.message,
        "path": finding.path,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }


def statistics(findings: Iterable[Finding]) -> list[tuple[int, str, str]]:
    """How many findings each rule has, the most first: count, code, name."""
    counts = Counter(finding.code for finding in findings)
    rows = [(count, code, RULES[code].name) for code, count in counts.items()]
    return sorted(rows, key=lambda row: (-row[0], row[1]))
