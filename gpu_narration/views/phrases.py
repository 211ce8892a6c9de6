"""The phrase book: what events of the GPU and of C libraries say in other voices.

Their authors give no sentences of their own, so the words are here.  A phrase has the
same facts as the human sentence; where one of them is unknown there is no phrase, and
the human sentence, which says so, stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gpu_narration._types import WAITS, Kind, Outcome
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import Value
from gpu_narration.views.units import device_name, milliseconds, size

Facts = Mapping[str, Value]


def phrase(event: Event, annotations: Facts, voice: str) -> str | None:
    """The sentence of an event in a voice; None where the book has none."""
    speaker = _BOOK.get(voice, {}).get(_subject(event) or event.kind)
    return None if speaker is None else speaker(event, {**event.fields, **annotations})


def _subject(event: Event) -> str | None:
    """What is told of in words of its own, whatever its kind is."""
    if event.names[0] == "cuda" and event.names[1] in WAITS:
        return "wait"
    if event.kind is Kind.NARRATION and event.names[:2] == ("vram", "out_of_memory"):
        return "out of memory"
    return None


# ---- launches ----


def _launch_cute(event: Event, facts: Facts) -> str | None:
    name, where = _launched(event, facts)
    if "error" in facts:
        return f"{name} tripped on its way to {where}"
    elapsed_ns = facts.get("gpu_ns")
    if isinstance(elapsed_ns, int):
        return f"{name} zipped through {where} in {milliseconds(elapsed_ns)} ms"
    return f"{name} hopped onto {where}"


def _launch_story(event: Event, facts: Facts) -> str | None:
    name, where = _launched(event, facts)
    if "error" in facts:
        return f'"I could not set out for {where}," said {name}.'
    elapsed_ns = facts.get("gpu_ns")
    if isinstance(elapsed_ns, int):
        return f'"Done in {milliseconds(elapsed_ns)} ms," said {name} on {where}.'
    return f'"I am on my way," said {name} to {where}.'


def _launched(event: Event, facts: Facts) -> tuple[str, str]:
    return event.names[2] or "?", device_name(facts) or "the GPU"


# ---- memory ----


def _vram_cute(_: Event, facts: Facts) -> str | None:
    moved = _moved(facts)
    if moved is None:
        return None
    where, change, used, scope = moved
    if change >= 0:
        return f"{where} tucked away {size(change)}{scope}; {size(used)} are snug in there now"
    return f"{where} let go of {size(-change)}{scope}; {size(used)} are still tucked in"


def _vram_story(_: Event, facts: Facts) -> str | None:
    moved = _moved(facts)
    if moved is None:
        return None
    where, change, used, scope = moved
    if change >= 0:
        return f'"I carry {size(change)} more{scope}, {size(used)} in all," said {where}.'
    return f'"{size(-change)} lighter{scope}, {size(used)} to go," said {where}.'


def _moved(facts: Facts) -> tuple[str, int, int, str] | None:
    """Where, by how much, to what, and in which scope."""
    where, used, before = device_name(facts), facts.get("used_bytes"), facts.get("before_bytes")
    if where is None or not isinstance(used, int) or not isinstance(before, int):
        return None
    scope = facts.get("in_scope")
    if facts.get("by_others") is True:
        said = " that others moved"
    elif isinstance(scope, str):
        said = f" {'in or before' if facts.get('scope_is_newer') is True else 'in'} {scope}"
    else:
        said = ""
    return where, used - before, used, said


def _oom_cute(_: Event, facts: Facts) -> str | None:
    full = _full(facts)
    if full is None:
        return None
    return "{} is full to the brim: {} knocked, {} were free".format(*full)


def _oom_story(_: Event, facts: Facts) -> str | None:
    full = _full(facts)
    if full is None:
        return None
    return '"There is no room," said {}, "{} is too much: I have {} free."'.format(*full)


def _full(facts: Facts) -> tuple[str, str, str] | None:
    where = device_name(facts)
    requested, free = facts.get("vram_requested_bytes"), facts.get("vram_free_bytes")
    if where is None or not isinstance(requested, int) or not isinstance(free, int):
        return None
    if facts.get("null") is True:
        return None  # a NULL that may have another reason
    return where, size(requested), size(free)


# ---- waiting, and calls of C libraries ----

_FOR = {
    "memcpy": "a copy",
    "stream_synchronize": "a stream",
    "event_synchronize": "an event",
    "device_synchronize": "the whole device",
}


def _wait_cute(event: Event, _: Facts) -> str | None:
    for_what = _FOR[event.names[1] or ""]
    if event.phase is Phase.END:
        return f"The nap is over: {for_what} took {_elapsed(event)}"
    return f"A little nap, waiting for {for_what}"


def _wait_story(event: Event, _: Facts) -> str | None:
    for_what = _FOR[event.names[1] or ""]
    if event.phase is Phase.END:
        return f'"There you are, after {_elapsed(event)}," said the program to {for_what}.'
    return f'"I will wait for you," said the program to {for_what}.'


def _foreign_cute(event: Event, _: Facts) -> str | None:
    name, library = event.names[1] or "?", event.names[0] or "?"
    if event.phase is not Phase.END:
        return f"{library}, would you {name}, please?"
    if event.outcome is Outcome.OK:
        return f"{name} is back from {library} after {_elapsed(event)}"
    return f"{name} stumbled in {library} after {_elapsed(event)}"


def _foreign_story(event: Event, _: Facts) -> str | None:
    name, library = event.names[1] or "?", event.names[0] or "?"
    if event.phase is not Phase.END:
        return f'"Please, {name}," said the program to {library}.'
    if event.outcome is Outcome.OK:
        return f'"Here you are, {name}, in {_elapsed(event)}," said {library}.'
    return f'"{name} did not go well, after {_elapsed(event)}," said {library}.'


def _elapsed(event: Event) -> str:
    return "?" if event.elapsed_ns is None else f"{milliseconds(event.elapsed_ns)} ms"


_BOOK: dict[str, dict[str | Kind, Callable[[Event, Facts], str | None]]] = {
    "cute": {
        Kind.LAUNCH: _launch_cute,
        Kind.VRAM: _vram_cute,
        Kind.FOREIGN: _foreign_cute,
        "wait": _wait_cute,
        "out of memory": _oom_cute,
    },
    "story": {
        Kind.LAUNCH: _launch_story,
        Kind.VRAM: _vram_story,
        Kind.FOREIGN: _foreign_story,
        "wait": _wait_story,
        "out of memory": _oom_story,
    },
}
