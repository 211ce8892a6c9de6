"""Findings as SARIF 2.1.0, the OASIS format for results of static analysis."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from gpu_narration._version import __version__
from gpu_narration.editorial.finding import Finding
from gpu_narration.editorial.rules import ALWAYS, RULES, Rule

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
#: The key of our fingerprints; its number changes when they are made otherwise.
FINGERPRINT = "gpuNarrationFinding/v1"


def sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """A SARIF log with one run.  Columns count Unicode code points."""
    rules = list(RULES.values())
    index = {rule.code: at for at, rule in enumerate(rules)}
    seen: Counter[str] = Counter()
    results = []
    for finding in findings:
        mark = _fingerprint(finding)
        seen[mark] += 1
        results.append(_result(finding, index[finding.code], f"{mark}:{seen[mark]}"))
    driver = {
        "name": "gpu-narration lint",
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in rules],
    }
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    help_text = rule.why
    if rule.bad:
        help_text += f"\n\nInstead of\n\n    {rule.bad}\n\nwrite\n\n    {rule.good}"
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.why},
        "help": {"text": help_text},
        "defaultConfiguration": {"level": _level(rule.code)},
    }


def _result(finding: Finding, rule: int, fingerprint: str) -> dict[str, Any]:
    span = finding.span
    region = {
        "startLine": span.line, "startColumn": span.column,
        "endLine": span.end_line, "endColumn": span.end_column,
    }  # fmt: skip
    where = {"artifactLocation": {"uri": _uri(finding.path)}, "region": region}
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _level(finding.code),
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": where}],
        "partialFingerprints": {FINGERPRINT: fingerprint},
    }


def _level(code: str) -> str:
    return "error" if code in ALWAYS or code.startswith("GN4") else "warning"


def _fingerprint(finding: Finding) -> str:
    """The same for a finding that only moved to another line."""
    text = f"{finding.code}\0{finding.path}\0{finding.message}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def _uri(path: str) -> str:
    """A path as a relative reference, or a file URI where it is absolute."""
    plain = quote(PurePath(path).as_posix().encode(errors="surrogateescape"))
    return f"file://{plain}" if plain.startswith("/") else plain
