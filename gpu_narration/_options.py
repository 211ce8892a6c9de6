"""The options of a recording: what they may be, and what the environment says."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gpu_narration._errors import OptionError
from gpu_narration._types import VOICES

FILTER_VARIABLE = "GPU_NARRATION"
VOICE_VARIABLE = "GPU_NARRATION_VOICE"
BACKEND_VARIABLE = "GPU_NARRATION_BACKEND"

#: One chunk of the ring, as in _core/record.h.
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options; :func:`gpu_narration.start` explains them.

    ``voice`` is None where no console was asked for.
    """

    filter: str
    voice: str | None
    backend: str
    on_full: str
    mode: str
    nvtx: str
    clock: str
    vram: bool
    children: bool
    ring_bytes: int


def check(
    *,
    filter_text: str | None,
    console: bool | str | None,
    backend: str | None,
    on_full: str,
    mode: str,
    nvtx: str,
    clock: str,
    vram: bool,
    children: bool,
    ring_bytes: int,
) -> Options:
    """The options, completed from the environment; raises OptionError."""
    if not 8 * CHUNK_BYTES <= ring_bytes <= 1 << 34:
        raise OptionError(
            f"ring_bytes={ring_bytes} is not possible", next_step="choose 512 KiB to 16 GiB"
        )
    return Options(
        filter=os.environ.get(FILTER_VARIABLE, "") if filter_text is None else filter_text,
        voice=_voice(console),
        backend=backend or os.environ.get(BACKEND_VARIABLE) or "auto",
        on_full=_one_of("on_full", on_full, ("wait", "drop")),
        mode=_one_of("mode", mode, ("stream", "flight")),
        nvtx=_one_of("nvtx", nvtx, ("auto", "on", "off")),
        clock=_one_of("clock", clock, ("auto", "monotonic")),
        vram=vram,
        children=children,
        ring_bytes=ring_bytes,
    )


def _voice(console: bool | str | None) -> str | None:
    if console is None or console is False:
        return None
    if console is True:
        return _one_of(VOICE_VARIABLE, os.environ.get(VOICE_VARIABLE) or "human", VOICES)
    return _one_of("console", console, VOICES)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise OptionError(
            f"{option}={value!r} is not possible", next_step=f"choose one of {', '.join(allowed)}"
        )
    return value
