"""For the tests of programs that make a GPU work.

:func:`capture` gives the events of a ``with`` block, and can be asked about them; the
pytest plugin has it as the fixture ``narrations``, and the markers ``vram_limit``,
``vram_leak`` and ``gpu_time_limit``.  docs/testing.md is the page for users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_narration.testing.captured import Captured, capture
    from gpu_narration.testing.coverage import NarrationCoverage
    from gpu_narration.testing.dialogue import has_dialogue

#: Where each name comes from.
_PLACES = {
    "Captured": "captured",
    "NarrationCoverage": "coverage",
    "capture": "captured",
    "has_dialogue": "dialogue",
}
__all__ = ["Captured", "NarrationCoverage", "capture", "has_dialogue"]


def __getattr__(name: str) -> object:
    # pytest loads the plugin, and with it this, in every run: the reader must wait.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
