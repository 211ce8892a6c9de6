"""What texts should be like: rules, a reader of sources, and what it found.

Never part of recording.  :func:`check_template` is for the moment when a function is
decorated; ``gpu-narration lint`` reads whole sources (:mod:`.linter`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_narration._types import Level
    from gpu_narration.editorial.finding import Finding

__all__ = ["check_template"]


def check_template(kind: str, text: str, level: Level | str | None = None) -> list[Finding]:
    """What the rules say of one template, as ``narrate_fn`` takes it.

    ``kind`` is ``human``, ``error_human``, ``cute``, ``story``, ``trace`` or ``detail``;
    ``level`` a :class:`Level` or its name, None where it is not known, which allows the
    longest text.  What is no template is judged as it stands.

    Raises OptionError for a kind or a level that there is not.
    """
    from gpu_narration._errors import OptionError
    from gpu_narration._types import Level
    from gpu_narration.editorial.checks import Kind, check
    from gpu_narration.editorial.finding import Finding
    from gpu_narration.editorial.text import template

    try:
        role = Kind(kind)
    except ValueError:
        raise OptionError(
            f"there is no kind of text {kind!r}", next_step=f"choose one of {', '.join(Kind)}"
        ) from None
    if isinstance(level, str):
        if level.upper() not in Level.__members__:
            known = ", ".join(level.name.lower() for level in Level)
            raise OptionError(f"there is no level {level!r}", next_step=f"choose one of {known}")
        level = Level[level.upper()]
    found = check(role, template(text), None if level is None else Level(level))
    return [Finding(code, message) for code, message in found]
