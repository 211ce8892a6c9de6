"""For the tests of programs that make a GPU work.

:func:`capture` gives the events of a ``with`` block.  The pytest plugin adds the markers
``vram_limit``, ``vram_leak`` and ``gpu_time_limit``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_narration.testing.captured import Captured, capture

__all__ = ["Captured", "capture"]


def __getattr__(name: str) -> object:
    # pytest loads the plugin, and with it this, in every run: the reader must wait.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gpu_narration.testing import captured

    return getattr(captured, name)
