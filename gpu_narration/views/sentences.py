"""What an event says in words, in one of three voices."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_narration._types import Kind, Outcome
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import CutText, Value
from gpu_narration.views.phrases import phrase
from gpu_narration.views.templates import fill, plain_text
from gpu_narration.views.units import device_name, milliseconds, size

_ENDINGS = {
    Outcome.OK: "completed",
    Outcome.ERROR: "failed",
    Outcome.CANCELLED: "was cancelled",
    Outcome.CLOSED: "was closed",
}


def sentence(event: Event, annotations: Mapping[str, Value], voice: str = "human") -> str:
    """The sentence of an event; a voice that neither it nor the phrase book has falls back
    to human.
    """
    if voice != "human":
        spoken = event.fields.get(voice) or phrase(event, annotations, voice)
        if isinstance(spoken, (str, CutText)):
            return plain_text(spoken)
    maker = _MAKERS.get(event.kind)
    if maker is not None:
        return maker(event, annotations)
    return fill(event.names[3] or "", values_of(event))


def values_of(event: Event) -> list[Value]:
    """The values that an event's templates are filled with."""
    first = 2 if event.kind is Kind.LOOP else 0
    return [argument.value for argument in event.arguments[first:]]


def target_of(event: Event) -> str:
    """The event's target, with its values in it."""
    return fill(event.names[2] or "", values_of(event))


def _enter(event: Event, _: Mapping[str, Value]) -> str:
    return f"ENTER {event.names[2]}({fill(event.names[3] or '', values_of(event))})"


def _exit(event: Event, _: Mapping[str, Value]) -> str:
    result = fill(event.names[3] or "", values_of(event))
    if not result:
        return f"EXIT {event.names[2]}"
    arrow = "" if result.startswith("→") else "→ "
    return f"EXIT {event.names[2]} {arrow}{result}"


def _loop(event: Event, _: Mapping[str, Value]) -> str:
    index, total = loop_position(event)
    return f"Iteration {index}/{total}: {fill(event.names[3] or '', values_of(event))}"


def loop_position(event: Event) -> tuple[str, str]:
    """Index and total of a loop event."""
    index, total, *_ = [*(plain_text(argument.value) for argument in event.arguments[:2]), "?", "?"]
    return index, total


def _span(event: Event, _: Mapping[str, Value]) -> str:
    name = event.names[1] or "?"
    if event.phase is Phase.BEGIN:
        return event.names[3] or f"{name} started"
    return f"{name} {_ENDINGS[event.outcome or Outcome.OK]}"


def _launch(event: Event, annotations: Mapping[str, Value]) -> str:
    name = event.names[2] or "?"
    # A launch that began a recording, as in a forked child, learns both later.
    known = {**event.fields, **annotations}
    where = _on_device(known)
    if "error" in annotations:
        return f"{name} failed to launch{where}"
    elapsed_ns = annotations.get("gpu_ns")
    if isinstance(elapsed_ns, int):
        return f"{name} ran {milliseconds(elapsed_ns)} ms{where}"
    return f"{name} launched{where}"


def _on_device(facts: Mapping[str, Value]) -> str:
    name = device_name(facts)
    return "" if name is None else f" on {name}"


def _vram(event: Event, annotations: Mapping[str, Value]) -> str:
    fields = event.fields
    used, before = fields.get("used_bytes"), fields.get("before_bytes")
    where = device_name(fields) or ""
    if not isinstance(used, int):
        reason = fields.get("reason")
        return f"VRAM on {where} is unknown{f': {reason}' if isinstance(reason, str) else ''}"
    if not isinstance(before, int):
        return f"VRAM on {where} is at {size(used)}"
    moved = "rose" if used >= before else "fell"
    change = f"VRAM on {where} {moved} {size(abs(used - before))} to {size(used)}"
    if annotations.get("by_others") is True:
        return f"{change}, not by this process"
    scope = fields.get("in_scope")
    if not isinstance(scope, str):
        return change
    return f"{change} in {'or before ' if fields.get('scope_is_newer') is True else ''}{scope}"


def is_out_of_memory(event: Event) -> bool:
    """Whether it is the post-mortem of an allocation, whose sentence is made here."""
    return event.kind is Kind.NARRATION and event.names[:2] == ("vram", "out_of_memory")


def _narration(event: Event, _: Mapping[str, Value]) -> str:
    if is_out_of_memory(event):
        return _out_of_memory(event.fields)
    return fill(event.names[3] or "", values_of(event))


def _out_of_memory(fields: Mapping[str, Value]) -> str:
    where = _on_device(fields)
    scope = fields.get("in_scope")
    if fields.get("null") is True:
        head = f"{_word(fields, 'failed')} gave NULL{where}, perhaps for want of memory: "
    else:
        head = f"Out of memory{where}{f' in {scope}' if isinstance(scope, str) else ''}: "
    requested, free = fields.get("vram_requested_bytes"), fields.get("vram_free_bytes")
    total, limit = fields.get("vram_total_bytes"), fields.get("vram_limit_bytes")
    parts = []
    if isinstance(requested, int):
        parts.append(f"{size(requested)} were asked for")
    else:
        parts.append("how much was asked for is unknown")
    if isinstance(free, int):
        of_all = f" of {size(total)}" if isinstance(total, int) else ""
        parts.append(f"{size(free)}{of_all} were free")
    else:
        parts.append(f"how much was free is unknown ({_word(fields, 'vram_reason')})")
    if isinstance(limit, int):
        parts.append(f"the pool may have {size(limit)}")
    reserved, cached = fields.get("vram_reserved_bytes"), fields.get("vram_cached_bytes")
    if isinstance(reserved, int) and isinstance(cached, int):
        parts.append(f"pools held {size(reserved)}, {size(cached)} of it unused")
    return head + ", ".join(parts) + _takers(fields)


def _word(fields: Mapping[str, Value], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else "?"


def _takers(fields: Mapping[str, Value]) -> str:
    told, number = [], 1
    while isinstance(taken := fields.get(f"taken_{number}_bytes"), int):
        at_most = "at most " if fields.get(f"taken_{number}_at_most") is True else ""
        told.append(f"{_word(fields, f'taken_{number}')} {at_most}{size(taken)}")
        number += 1
    others, given_back = fields.get("taken_others_bytes"), fields.get("given_back_bytes")
    if isinstance(others, int):
        told.append(f"others {size(others)}")
    text = f"; taken by {', '.join(told)}" if told else ""
    return f"{text}; {size(given_back)} were given back" if isinstance(given_back, int) else text


_MAKERS = {
    Kind.NARRATION: _narration,
    Kind.ENTER: _enter,
    Kind.EXIT: _exit,
    Kind.LOOP: _loop,
    Kind.SPAN: _span,
    Kind.FUNCTION: _span,
    Kind.FOREIGN: _span,
    Kind.LAUNCH: _launch,
    Kind.VRAM: _vram,
}
