"""A narration in steps: ``Narration(actor, action, target).human(…).cute(…).emit()``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from gpu_narration import _core

if TYPE_CHECKING:
    from typing import Unpack

    from gpu_narration._types import Level
    from gpu_narration.narration.fields import NarrationFields


class Narration:
    """Collects what a narration says until :meth:`emit` records it.

    Each step gives the same object back.  One that is never emitted says so as a
    ResourceWarning, which Python shows in development mode and pytest always.

    >>> job = Narration("queue", "admit", "job-7").human("Admitted job-7").fields(tokens_in=812)
    >>> job
    Narration('queue', 'admit', 'job-7')
    >>> job.emit()  # None: nothing records
    """

    __slots__ = ("_fields", "_told")

    def __init__(self, actor: str, action: str, target: str | None = "") -> None:
        self._told = False
        self._fields: dict[str, Any] = {"actor": actor, "action": action, "target": target}

    def human(self, text: str | None) -> Self:
        """The sentence for people."""
        return self._with("human", text)

    def cute(self, text: str | None) -> Self:
        """The same event in the cute voice."""
        return self._with("cute", text)

    def story(self, text: str | None) -> Self:
        """The same event as a line of a story."""
        return self._with("story", text)

    def level(self, level: Level | str | int) -> Self:
        """How much it matters; without it, INFO."""
        return self._with("level", level)

    def correlation_id(self, correlation_id: str) -> Self:
        """The request it belongs to, where that is not the one that is set."""
        return self._with("correlation_id", correlation_id)

    def fields(self, **fields: Unpack[NarrationFields]) -> Self:
        """Any of the fields of :class:`NarrationFields`."""
        self._fields.update(fields)
        return self

    def extra(self, **free: Any) -> Self:
        """Free fields."""
        self._fields["extra"] = {**(self._fields.get("extra") or {}), **free}
        return self

    def emit(self, *, stacklevel: int = 1) -> int | None:
        """Records it, from the line that calls this; the event's id, or None.

        Each call records it once more.  Raises what :func:`gpu_narration.narrate` raises.
        """
        self._told = True
        return _core.narrate(self._fields, stacklevel=stacklevel + 1)

    def _with(self, name: str, value: object) -> Self:
        self._fields[name] = value
        return self

    def __repr__(self) -> str:
        told = ", ".join(repr(self._fields[name]) for name in ("actor", "action", "target"))
        return f"Narration({told})"

    def __del__(self) -> None:
        if getattr(self, "_told", True):
            return
        import warnings

        warnings.warn(f"{self!r} was never emitted", ResourceWarning, stacklevel=2, source=self)
