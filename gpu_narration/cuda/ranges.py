"""NVTX ranges and marks, through the ``nvtx`` package.

One domain, a category per kind of event, registered strings for names that do
not change, and our event id as an int64 payload, so that a report of Nsight
Systems joins exactly with a trace of ours.  Nothing is imported and nothing is
called unless a tool is attached.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

from gpu_narration._types import Kind

DOMAIN = "gpu_narration"

#: Set by Nsight tools in the processes they launch.
ATTACHED_VARIABLES = ("NVTX_INJECTION64_PATH", "NVTX_INJECTION32_PATH")

_CATEGORIES = {
    Kind.SPAN: "span",
    Kind.FUNCTION: "function",
    Kind.FOREIGN: "ffi",
    Kind.LAUNCH: "launch",
    Kind.NARRATION: "narration",
    Kind.VRAM: "vram",
}


def tool_announced() -> bool:
    """Whether a tool has put its injection library into our environment."""
    return any(os.environ.get(variable) for variable in ATTACHED_VARIABLES)


class Bridge:
    """What the core calls; every attribute is a bound method of the NVTX domain."""

    def __init__(self, domain: Any) -> None:
        self._domain = domain
        self.mark: Callable[[Any], object] = domain.mark
        self.push_range: Callable[[Any], object] = domain.push_range
        self.pop_range: Callable[[], object] = domain.pop_range
        self.start_range: Callable[[Any], object] = domain.start_range
        self.end_range: Callable[[Any], object] = domain.end_range

    def attributes(
        self, kind: int, actor: str | None, action: str | None, target: str | None
    ) -> Any:
        """Event attributes of a call site; the core sets their payload at each use.

        A name that changes from call to call is not used: registered strings are
        never freed.
        """
        named = target if kind in (Kind.ENTER, Kind.EXIT, Kind.LAUNCH, Kind.STATE) else action
        return self._domain.get_event_attributes(
            message=named or action or actor or Kind(kind).name.lower(),
            category=_CATEGORIES.get(Kind(kind), "event"),
            payload=0,
        )


def attach(mode: Literal["auto", "on", "off"] = "auto") -> Bridge | None:
    """The bridge to an attached tool, or None if there is none.

    ``auto`` looks only where a tool has announced itself in the environment;
    ``on`` asks NVTX in any case.
    """
    if mode == "off" or (mode == "auto" and not tool_announced()):
        return None
    import nvtx

    domain = nvtx.get_domain(DOMAIN)
    if not hasattr(domain, "handle"):
        return None  # nvtx gives its dummy domain where no tool listens
    return Bridge(domain)
