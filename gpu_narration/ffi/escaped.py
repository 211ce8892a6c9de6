"""Names that a replaced function had elsewhere: calls through them are not recorded.

Only functions that can be traced in no other way are replaced (Cython's, pybind11's and
other C code's); those of ctypes and cffi stay the same objects.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection, Iterator, Mapping
from types import CellType
from typing import Any, NamedTuple

#: So many are named; one more says that there are more.
MOST = 100
#: Cython keeps a capsule of C functions and tables of a module's own in such names.
_PRIVATE = ("__pyx_capi__", "__builtins__")


class Escaped(NamedTuple):
    """A name, or another place, that holds a function as it was before."""

    function: str
    place: str


def find(originals: Mapping[str, object], ours: Collection[object] = ()) -> tuple[Escaped, ...]:
    """Where functions are held that were replaced elsewhere.

    originals: the functions as they were, by name.  ours: what holds them for the sake of
    the tracing.  One pass over the objects that the garbage collector knows.
    """
    names = {id(function): name for name, function in originals.items()}
    found = dict.fromkeys(_in_modules(names))
    known = {id(space) for space in _namespaces().values()}
    looked_for = tuple(originals.values())
    known |= {id(holder) for holder in ours} | {id(originals), id(names), id(looked_for)}
    for holder in gc.get_referrers(*looked_for) if originals else ():
        if id(holder) in known:
            continue
        for function in _held(holder, names):
            found[Escaped(function, _place(holder))] = None
            if len(found) > MOST:
                return tuple(found)
    return tuple(found)


def _namespaces() -> dict[str, dict[str, Any]]:
    """Of the modules, among which a program may have put anything."""
    spaces = {name: getattr(module, "__dict__", None) for name, module in list(sys.modules.items())}
    return {name: space for name, space in spaces.items() if type(space) is dict}


def _in_modules(names: Mapping[int, str]) -> Iterator[Escaped]:
    for module, space in _namespaces().items():
        for name, value in list(space.items()):
            if id(value) in names and name not in _PRIVATE:
                yield Escaped(names[id(value)], f"{module}.{name}")


def _held(holder: object, names: Mapping[int, str]) -> list[str]:
    """Which of them an object holds, that is neither a frame nor the tracing's own."""
    kind = type(holder)
    if kind.__name__ in ("frame", "ForeignFunction", "list_iterator", "dict_valueiterator"):
        return []
    return [names[id(value)] for value in gc.get_referents(holder) if id(value) in names]


def _place(holder: object) -> str:
    """What holds it, as a reader can find it."""
    if type(holder) is dict:
        for owner in gc.get_referrers(holder):
            if isinstance(owner, type):
                return f"attribute of {owner.__name__}"
            if getattr(owner, "__dict__", None) is holder:
                return f"attribute of a {type(owner).__name__}"
        return "a dict"
    if type(holder) is CellType:
        return "a closure"
    return f"a {type(holder).__name__}"
