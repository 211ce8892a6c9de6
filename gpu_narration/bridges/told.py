"""A record of another logger as a narration: what the bridges that lead in share."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from gpu_narration._errors import internal_error
from gpu_narration._types import Level
from gpu_narration.narration import narrate
from gpu_narration.narration.templates import error_text

#: The field that says which bridge an event came by; those that lead out leave it alone.
VIA = "via"

#: What narrate() takes as its own words.
_WORDS = frozenset(
    ("actor", "action", "target", "human", "level", "cute", "story", "extra", "stacklevel", VIA)
)
#: Of the caller's, which a record brings along.
_PROVENANCE = frozenset(("source_location", "emitted_by", "emitted_at_ms", "error_kind"))

_here = threading.local()


def tell(
    via: str,
    level: Level,
    logger: str,
    function: str,
    text: object,
    *,
    location: str | None,
    error: BaseException | None,
    fields: Mapping[object, object],
) -> None:
    """Narrates; never raises, and never itself comes by here again.

    A record that is made while one is told (by a summary, by a handler of ours) would be
    told without end.
    """
    if getattr(_here, "telling", False):
        return
    _here.telling = True
    try:
        named: dict[str, object] = {VIA: via}
        if location is not None:
            named["source_location"] = location
        for key, value in fields.items():
            name = key if isinstance(key, str) else type(key).__name__
            taken = name in _WORDS or (name in _PROVENANCE and name in named)
            named[f"log_{name}" if taken else name] = value
        if error is not None:
            named["error_kind"] = type(error).__name__
            named["error"] = error_text(error) or type(error).__name__
        narrate(logger, "log", function, as_text(text), level=level, extra=named)
    except Exception as failure:  # noqa: BLE001 - whoever logs goes on
        internal_error(f"bridge {via}", failure)
    finally:
        _here.telling = False


def as_text(said: object) -> str:
    """What was logged in place of a text is the program's own object, and may fail to be one."""
    if isinstance(said, str):
        return said
    try:
        return str(said)
    except Exception:  # noqa: BLE001 - of the program's class
        return f"<{type(said).__name__}>"
