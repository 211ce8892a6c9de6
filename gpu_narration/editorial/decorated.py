"""The rules at the moment when a function is decorated, as warnings."""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Mapping
from typing import Any

from gpu_narration._errors import NarrationStyleWarning
from gpu_narration._types import Level
from gpu_narration.editorial import check_template
from gpu_narration.editorial.noqa import Noqa, in_line, suppressed

#: How far below its first decorator the ``def`` of a function is looked for.
_LINES = 50


def warn_of(
    function: Any, texts: Mapping[str, str | None], *, level: Level, error_level: Level
) -> None:
    """Warns of each finding in the templates of a function, at its first decorator.

    ``texts`` are the templates by their kind (``human``, ``error_human``, ``cute``, ``story``).
    ``# noqa`` between there and the ``def`` counts as it does for ``gpu-narration lint``.
    """
    code = getattr(function, "__code__", None)
    file = getattr(code, "co_filename", "<unknown>")
    line = getattr(code, "co_firstlineno", 1)
    comments = _comments(file, line)
    for kind, text in texts.items():
        for finding in check_template(
            kind, text or "", error_level if kind == "error_human" else level
        ):
            if suppressed(finding.code, comments, comments):
                continue
            warnings.warn_explicit(
                f"{kind} of {function.__qualname__}: {finding.code} {finding.message}",
                NarrationStyleWarning, file, line, module=getattr(function, "__module__", None) or "<unknown>",
            )  # fmt: skip


def _comments(file: str, first: int) -> dict[int, Noqa]:
    """The comments that suppress something, from a decorator to its ``def``."""
    found = {}
    for number in range(first, first + _LINES):
        line = linecache.getline(file, number)
        noqa = in_line(line, number)
        if noqa is not None:
            found[number] = noqa
        if line.lstrip().startswith(("def ", "async def ")):
            break
    return found
