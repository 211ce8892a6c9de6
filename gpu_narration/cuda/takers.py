"""How much device memory each scope has taken, by name: what an OOM is explained with.

Counted is what a scope took by itself, without the scopes inside it and without what a
pool keeps unused.  Who gives memory back is seen, but not whose it was.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from gpu_narration.cuda.nesting import Name, Place

#: So many names are kept; of more, the smallest are added up.
_NAMES_MAX = 256
OTHERS: Name = ("", "other scopes")


@dataclass(frozen=True, slots=True)
class Taken:
    """Bytes that scopes of a name took, or gave back if negative.

    ``at_most``: another scope was open beside one of them, so it may have been that one's.
    """

    name: Name
    bytes: int
    at_most: bool


class Takers:
    """A bounded table.  Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._table: dict[tuple[int, Name], Taken] = {}

    def ended(self, place: Place, taken_bytes: int) -> None:
        """A scope has taken so much, the scopes inside it included."""
        with self._lock:
            outer = place.around()
            if outer is not None:
                outer.inner_bytes += taken_bytes
            self._add(place, taken_bytes - place.inner_bytes)

    def listed(self, device: int, open_bytes: dict[Place, int]) -> list[Taken]:
        """What scopes on a device took so far, largest first.

        ``open_bytes``: what open ones took until now, those inside included.
        """
        own = {place: taken - place.inner_bytes for place, taken in open_bytes.items()}
        for place, taken in open_bytes.items():
            outer = place.around()
            while outer is not None and outer not in own:
                outer = outer.around()
            if outer is not None:
                own[outer] -= taken
        with self._lock:
            table = {name: taken for (on, name), taken in self._table.items() if on == device}
        for place, taken in own.items():
            table[place.name] = _plus(table.get(place.name), place, taken)
        return sorted(table.values(), key=lambda taken: -taken.bytes)

    def _add(self, place: Place, taken_bytes: int) -> None:
        key = place.device, place.name
        self._table[key] = _plus(self._table.get(key), place, taken_bytes)
        while len(self._table) > _NAMES_MAX:
            device, name = min(
                (other for other in self._table if other[1] != OTHERS),
                key=lambda other: abs(self._table[other].bytes),
            )
            gone = self._table.pop((device, name))
            rest = self._table.get((device, OTHERS), Taken(OTHERS, 0, at_most=False))
            self._table[device, OTHERS] = Taken(
                OTHERS, rest.bytes + gone.bytes, rest.at_most or gone.at_most
            )


def _plus(before: Taken | None, place: Place, taken_bytes: int) -> Taken:
    shared = bool(place.shared)
    if before is None:
        return Taken(place.name, taken_bytes, shared)
    return Taken(place.name, before.bytes + taken_bytes, before.at_most or shared)
