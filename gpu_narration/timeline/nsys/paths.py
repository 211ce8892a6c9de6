"""Paths of range names, as numbers: what was open round a call, the outermost first."""

from __future__ import annotations

import re

#: What PyTorch's ``emit_nvtx`` writes behind the name of an operator; each call has its own.
_OF_ONE_CALL = re.compile(r", (?:seq|op_id|sizes|input_op_ids) = .*", re.DOTALL)

#: Beyond so many names, or paths, the rest goes under one name: a program that makes a name
#: for each range must not fill the memory.
_NAMES_MAX = 50_000
_PATHS_MAX = 200_000
OTHERS = "(further names)"


def shared_name(name: str) -> str:
    """The name without what belongs to one call alone.

    >>> shared_name("aten::mm, op_id = 314286")
    'aten::mm'
    """
    return _OF_ONE_CALL.sub("", name) if ", " in name else name


class Paths:
    """A tree of names.  Path 0 is the empty one, name 0 is :data:`OTHERS`."""

    def __init__(self) -> None:
        self.names = [OTHERS]
        self._name_numbers: dict[str, int] = {OTHERS: 0}
        self._children: dict[tuple[int, int], int] = {}
        self._distinct: list[tuple[int, ...]] = [()]

    def name(self, text: str) -> int:
        """The number of a name."""
        number = self._name_numbers.get(text)
        if number is None:
            if len(self.names) > _NAMES_MAX:
                return 0
            number = self._name_numbers[text] = len(self.names)
            self.names.append(text)
        return number

    def child(self, path: int, name: int) -> int:
        """The path with one more name; the path itself where there are too many."""
        found = self._children.get((path, name))
        if found is None:
            if len(self._distinct) > _PATHS_MAX:
                return path
            found = self._children[path, name] = len(self._distinct)
            above = tuple(other for other in self._distinct[path] if other != name)
            self._distinct.append((*above, name))
        return found

    def distinct(self, path: int) -> tuple[int, ...]:
        """The names of a path, each once, the innermost last."""
        return self._distinct[path]
