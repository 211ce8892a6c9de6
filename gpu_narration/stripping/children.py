"""Processes that multiprocessing spawns: the hook is there before their main module is.

``spawn`` and ``forkserver`` hand a child what it must prepare, pickled; a child unpickles
that before it imports anything of the program.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

SPAWN = "multiprocessing.spawn"

#: In the child; one that cannot import this package has nothing to strip.
_CODE = """
try:
    from gpu_narration.stripping.choice import take_over
except ImportError:
    pass
else:
    take_over(chosen)
"""


class Messenger:
    """Tells the process in which it is unpickled what to strip."""

    def __init__(self, chosen: str) -> None:
        self._chosen = chosen

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, dict[str, str]]]:
        return exec, (_CODE, {"chosen": self._chosen})


class SpawnLoader(SourceFileLoader):
    """Loads multiprocessing.spawn and adds the messenger."""

    def __init__(self, inner: SourceFileLoader, chosen: Callable[[], object]) -> None:
        super().__init__(inner.name, inner.path)
        self._chosen = chosen

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _patch(module, self._chosen)


def patch_if_loaded(chosen: Callable[[], object]) -> None:
    spawn = sys.modules.get(SPAWN)
    if spawn is not None:
        _patch(spawn, chosen)


def patch_when_loaded(spec: ModuleSpec, chosen: Callable[[], object]) -> None:
    """``spec`` is that of multiprocessing.spawn."""
    if type(spec.loader) is SourceFileLoader:
        spec.loader = SpawnLoader(spec.loader, chosen)


def _patch(spawn: ModuleType, chosen: Callable[[], object]) -> None:
    prepared: Callable[..., dict[str, object]] = spawn.get_preparation_data

    @functools.wraps(prepared)
    def with_messenger(*args: Any, **kwargs: Any) -> dict[str, object]:
        data = prepared(*args, **kwargs)
        choice = str(chosen())
        # In front: the child unpickles in this order, and looks at no name it does not know.
        return {"gpu_narration": Messenger(choice), **data} if choice else data

    vars(spawn)["get_preparation_data"] = with_messenger
