"""structlog: a processor that makes narrations of what is logged."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from types import FrameType
from typing import Any

from gpu_narration.bridges.levels import from_name
from gpu_narration.bridges.told import as_text, tell

#: Fields of structlog's own processors, which are said otherwise.
_SAID = frozenset(
    ("event", "level", "logger", "exc_info", "timestamp", "pathname", "lineno", "func_name")
)  # fmt: skip


class NarrationProcessor:
    """Put it before the renderer: ``structlog.configure(processors=[…, NarrationProcessor(), …])``.

    The event is the sentence, the logger's name (``add_logger_name``) the actor, what is
    bound the fields; the level is that of the method.  ``source_location`` is the line that
    logged.  The event goes on to the next processor as it came; with ``drop`` it ends here.
    """

    def __init__(self, *, actor: str = "structlog", drop: bool = False) -> None:
        self._actor = actor
        self._drop = drop

    def __call__(
        self, logger: object, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        path, line, function = _caller(event_dict)
        tell(
            "structlog",
            from_name(as_text(event_dict.get("level") or method_name)),
            as_text(event_dict.get("logger") or getattr(logger, "name", None) or self._actor),
            function,
            event_dict.get("event", ""),
            location=None if path is None else f"{path}:{line}",
            error=_error(event_dict.get("exc_info"), method_name),
            fields={key: value for key, value in event_dict.items() if key not in _SAID},
        )
        if self._drop:
            from structlog import DropEvent

            raise DropEvent
        return event_dict


def _error(exc_info: object, method_name: str) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple) and len(exc_info) == 3:
        error = exc_info[1]
        return error if isinstance(error, BaseException) else None
    return sys.exception() if exc_info or method_name == "exception" else None


def _caller(event_dict: MutableMapping[str, Any]) -> tuple[str | None, int, str]:
    """File, line and function: as structlog found them, else the first frame above it."""
    if "pathname" in event_dict and "lineno" in event_dict:
        return event_dict["pathname"], event_dict["lineno"], str(event_dict.get("func_name", ""))
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in ("structlog", "logging", "gpu_narration"):
            return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back
    return None, 0, ""
