"""The options of a recording: what they may be, and what the environment says."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from gpu_narration import signals
from gpu_narration._environment import (
    BACKEND_VARIABLE,
    FILTER_VARIABLE,
    OPTIONS_VARIABLE,
    VOICE_VARIABLE,
)
from gpu_narration._errors import OptionError
from gpu_narration._types import FORMATS, VOICES

#: One chunk of the ring, as in _core/record.h.
CHUNK_BYTES = 64 * 1024

#: What the core's 32 bits can hold.
_TIMEOUT_MS_MAX = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options; :func:`gpu_narration.start` explains them.

    ``console`` is a format, or None where no console was asked for; signals are numbers.
    """

    filter: str
    console: str | None
    voice: str
    backend: str
    on_full: str
    mode: str
    dump_on_exception: bool
    dump_signal: int | None
    control: bool
    control_signal: int | None
    nvtx: str
    capture_range: str | None
    clock: str
    vram: bool
    children: bool
    ring_bytes: int


#: What processes started from a recording take over when they record by themselves.
#: Not the signals: those need the main thread, and their first event may be in another.
_HANDED_DOWN: dict[str, type] = {
    "on_full": str, "mode": str, "dump_on_exception": bool, "control": bool, "nvtx": str,
    "capture_range": str, "clock": str, "vram": bool, "ring_bytes": int,
}  # fmt: skip


def for_children(options: Options) -> str:
    """The text of the variable that hands the options down."""
    return json.dumps({name: getattr(options, name) for name in _HANDED_DOWN})


def from_parent() -> dict[str, Any]:
    """Arguments of start() that a parent's recording handed down."""
    try:
        given = json.loads(os.environ.get(OPTIONS_VARIABLE, ""))
    except ValueError:
        return {}
    if not isinstance(given, dict):
        return {}
    return {
        name: given[name] for name, kind in _HANDED_DOWN.items() if type(given.get(name)) is kind
    }


def check(
    *,
    filter_text: str | None,
    console: bool | str | None,
    voice: str | None,
    backend: str | None,
    on_full: str,
    mode: str,
    dump_on_exception: bool,
    dump_signal: str | int | None,
    control: bool,
    control_signal: str | int | None,
    nvtx: str,
    capture_range: str | None,
    clock: str,
    vram: bool,
    children: bool,
    ring_bytes: int,
) -> Options:
    """The options, completed from the environment; raises OptionError."""
    if type(ring_bytes) is not int or not 8 * CHUNK_BYTES <= ring_bytes <= 1 << 34:
        raise OptionError(
            f"ring_bytes={ring_bytes!r} is not possible", next_step="choose 512 KiB to 16 GiB"
        )
    if dump_signal is not None and mode == "stream":
        raise OptionError(
            f"dump_signal={dump_signal!r} needs mode='flight'",
            meaning="a stream recording is written out all the time",
            next_step="add mode='flight' (run --flight), or leave the signal out",
        )
    on_dump = _signal("dump_signal", dump_signal)
    on_control = _signal("control_signal", control_signal)
    if on_dump is not None and on_dump == on_control:
        raise OptionError(
            f"dump_signal and control_signal are both {signals.name_of(on_dump)}",
            next_step="choose two signals, as SIGUSR1 and SIGUSR2",
        )
    return Options(
        filter=os.environ.get(FILTER_VARIABLE, "") if filter_text is None else filter_text,
        console=_console(console),
        voice=_voice(console, voice),
        backend=backend or os.environ.get(BACKEND_VARIABLE) or "auto",
        on_full=_one_of("on_full", on_full, ("wait", "drop")),
        mode=_one_of("mode", mode, ("stream", "flight")),
        dump_on_exception=_switch("dump_on_exception", dump_on_exception),
        dump_signal=on_dump,
        control=_switch("control", control),
        control_signal=on_control,
        nvtx=_one_of("nvtx", nvtx, ("auto", "on", "off")),
        capture_range=_name("capture_range", capture_range),
        clock=_one_of("clock", clock, ("auto", "monotonic")),
        vram=_switch("vram", vram),
        children=_switch("children", children),
        ring_bytes=ring_bytes,
    )


def milliseconds(option: str, seconds: object) -> int:
    """A timeout as the core takes it; what is longer than 49 days waits that long.

    Raises OptionError for what is no number of seconds.
    """
    if isinstance(seconds, (int, float)) and seconds >= 0:  # not a NaN
        return int(min(seconds, _TIMEOUT_MS_MAX // 1000) * 1000)
    raise OptionError(
        f"{option}={seconds!r} is no time to wait", next_step="give a number of seconds, 0 or more"
    )


def _signal(option: str, given: str | int | None) -> int | None:
    return None if given is None else signals.number_of(option, given)


def _console(console: bool | str | None) -> str | None:
    """The format of the console; a voice in its place asks for lines of text."""
    if console is None or console is False:
        return None
    if console is True or console in VOICES:
        return FORMATS[0]
    return _one_of("console", console, (*FORMATS, *VOICES))


def _voice(console: bool | str | None, voice: str | None) -> str:
    if voice is not None:
        return _one_of("voice", voice, VOICES)
    if isinstance(console, str) and console in VOICES:
        return console
    from_environment = os.environ.get(VOICE_VARIABLE) or VOICES[0]
    if console is None or console is False:
        # Nobody asked for a voice: a recording does not fail over one that it does not show.
        return from_environment if from_environment in VOICES else VOICES[0]
    return _one_of(VOICE_VARIABLE, from_environment, VOICES)


def _switch(option: str, given: object) -> bool:
    # Not by its truth: control="no" would be on.
    if isinstance(given, bool):
        return given
    raise OptionError(f"{option}={given!r} is not possible", next_step="choose True or False")


def _name(option: str, given: str | None) -> str | None:
    if given is None or (type(given) is str and given):
        return given
    raise OptionError(
        f"{option}={given!r} is no name of a range",
        next_step="give the name of a span, as 'prefill'",
    )


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise OptionError(
            f"{option}={value!r} is not possible", next_step=f"choose one of {', '.join(allowed)}"
        )
    return value
