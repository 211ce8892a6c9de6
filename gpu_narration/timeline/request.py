"""One request to a llama.cpp: its prefill, its decodes, its first token, its memory.

A decode is *enqueued* when ``llama_decode`` comes back, and *completed* when the first
call behind it that waits for the same context does (``LLAMA_WAITS``), or when the
recording itself waited.  The GPU may have been done before that: times to completion are
upper bounds and rates lower ones.  What no such call followed has no completion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gpu_narration._types import LLAMA_WAITS, Kind, Outcome
from gpu_narration.timeline.distribution import Distribution
from gpu_narration.timeline.intervals import Intervals
from gpu_narration.timeline.request_memory import RequestMemory
from gpu_narration.timeline.values import is_number
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import Pointer, Value

STEPS = frozenset({"llama_decode", "llama_encode", "llama_process"})
_LOADS = ("llama_model_load", "llama_load_model")
_CONTEXTS = frozenset({"llama_init_from_model", "llama_new_context_with_model"})
_SAMPLES = ("llama_sampler_sample", "llama_sample_token")

#: Fields of a call that belong to what came before it begin so.
_BEFORE = "before_"

NOT_COMPLETED = "no call waited for it"
NO_FIRST = "nothing was sampled and no call waited for the first batch"

#: Gives what was learned about an event after it was recorded.
Annotations = Callable[[Event], Mapping[str, Value]]


@dataclass(slots=True)
class Step:
    """One decode or encode; ns, on CLOCK_MONOTONIC.

    enqueued_ns: until the call came back; None: it never did, or not in this trace.
    completed_ns: until something that waited for it did, None if nothing has.
    waited_ns: of the call that waited, its own length.
    failure: what the status meant, None where it was a success.
    """

    function: str
    phase: str | None
    n_tokens: int | None
    position: int | None
    begin_ns: int
    enqueued_ns: int | None = None
    completed_ns: int | None = None
    completed_by: str | None = None
    waited_ns: int | None = None
    failure: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it began and did not come back."""
        return self.enqueued_ns is None and self.failure is None


@dataclass(slots=True)
class PhaseSum:
    """All steps of one phase that were no failures.

    working: the time from their beginnings to their completions, counted once.
    timed_tokens: the tokens of those that have a completion.
    """

    steps: int = 0
    tokens: int = 0
    timed_tokens: int = 0
    working: Intervals = field(default_factory=Intervals)

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens over the time to completion; None where nothing was completed."""
        working_ns = self.working.covered_ns
        return self.timed_tokens * 1e9 / working_ns if working_ns > 0 else None


@dataclass(slots=True)
class Request:
    """What one correlation id amounts to.

    begin_ns, end_ns: its first and its last event.
    first_token_ns: when the first token was there, from the beginning; ``first_token_by``
        says what showed that.
    calls: all calls of llama.cpp, by name.
    counted: llama.cpp's own counters, as far as they were read within the request.
    model, context: the fields of the calls that made them, if they are in the trace.
    """

    correlation: str
    begin_ns: int = 0
    end_ns: int = 0
    events: int = 0
    steps: list[Step] = field(default_factory=list)
    phases: dict[str, PhaseSum] = field(default_factory=dict)
    sampled: int = 0
    first_token_ns: int | None = None
    first_token_by: str | None = None
    calls: dict[str, Distribution] = field(default_factory=dict)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    model: dict[str, Value] | None = None
    context: dict[str, Value] | None = None
    memory: RequestMemory = field(default_factory=RequestMemory)

    @property
    def is_empty(self) -> bool:
        """Whether no call of llama.cpp belongs to it."""
        return not self.calls and not self.steps


#: A context of a process; of a thread where the call does not tell.
_Key = tuple[int, int]


@dataclass(slots=True)
class _Call:
    """A call of llama.cpp that has begun."""

    name: str
    key: _Key
    fields: dict[str, Value]
    model: int | None = None
    step: Step | None = None


class RequestReader:
    """Collects one request while the events of a trace pass by, in the order of time;
    without a correlation id it collects nothing.
    """

    def __init__(self, correlation: str | None, annotations: Annotations) -> None:
        self._correlation = correlation
        self._request = Request(correlation or "")
        self._annotations = annotations
        self._open: dict[tuple[int, int], _Call] = {}
        #: Contexts whose last step was the request's.
        self._mine_last: set[_Key] = set()
        self._pending: dict[_Key, list[Step]] = {}
        self._models: dict[_Key, dict[str, Value]] = {}
        self._contexts: dict[_Key, tuple[int | None, dict[str, Value]]] = {}

    def watching(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, looked at as they pass."""
        if self._correlation is None:
            yield from events
            return
        for event in events:
            self.take(event)
            yield event

    def take(self, event: Event) -> None:
        request = self._request
        mine = event.correlation == self._correlation
        if mine:
            if request.events == 0:
                request.begin_ns = event.monotonic_ns
            request.end_ns = event.monotonic_ns
            request.events += 1
        request.memory.take(event, started=request.events > 0, mine=mine)
        name = event.names[1]
        if event.kind is not Kind.FOREIGN or name is None or not name.startswith("llama_"):
            return
        if event.phase is Phase.BEGIN:
            self._begin(event, name, mine=mine)
        elif event.phase is Phase.END:
            self._end(event, name, mine=mine)

    def finish(self) -> Request:
        """The request, once all events have passed."""
        request = self._request
        for step in request.steps:
            if step.failure is not None or step.is_open:
                continue
            row = request.phases.setdefault(step.phase or "unknown", PhaseSum())
            row.steps += 1
            row.tokens += step.n_tokens or 0
            if step.completed_ns is not None and step.n_tokens is not None:
                row.timed_tokens += step.n_tokens
                row.working.add(step.begin_ns, step.begin_ns + max(0, step.completed_ns))
        if request.first_token_ns is None:
            self._first_token_without_sampling()
        request.memory.finish()
        return request

    # ---- calls ----

    def _begin(self, event: Event, name: str, *, mine: bool) -> None:
        context = _argument(event, LLAMA_WAITS.get(name, 0))
        call = _Call(name, _key(event, context), event.fields, _argument(event, 0))
        if call.key in self._mine_last:
            # What was counted between the last reading and this call.
            self._count(event.fields, _BEFORE)
        if name in STEPS:
            (self._mine_last.add if mine else self._mine_last.discard)(call.key)
        if mine and name in STEPS:
            call.step = Step(
                name,
                _text(event.fields.get("phase")),
                _number(event.fields.get("n_tokens")),
                _number(event.fields.get("position")),
                event.monotonic_ns,
            )
            self._request.steps.append(call.step)
            made = self._contexts.get(call.key)
            if made is not None:
                self._request.context = made[1]
                self._request.model = self._models.get((event.process, made[0] or 0))
        self._open[event.process, event.id] = call

    def _end(self, event: Event, name: str, *, mine: bool) -> None:
        call = self._open.pop((event.process, event.span_id or 0), None)
        if call is None:
            return  # it began before the trace did
        if event.outcome is Outcome.OK:
            self._made(event, call)
        if call.step is not None:
            self._enqueued(event, call, call.step)
        elif name in LLAMA_WAITS and event.outcome is not Outcome.ERROR:
            self._completed(event, call)
        if mine:
            self._mine(event, name)

    def _mine(self, event: Event, name: str) -> None:
        request = self._request
        if event.elapsed_ns is not None:
            request.calls.setdefault(name, Distribution()).add(event.elapsed_ns)
        if event.outcome is Outcome.ERROR:
            request.failures.append((event.monotonic_ns, name, _failure(event)))
        elif name.startswith(_SAMPLES):
            request.sampled += 1
            if request.first_token_ns is None:
                request.first_token_ns = event.monotonic_ns - request.begin_ns
                request.first_token_by = name
        self._count(event.fields, "")

    def _count(self, fields: Mapping[str, Value], prefix: str) -> None:
        counted = self._request.counted
        for name, value in fields.items():
            if name.startswith(f"{prefix}perf_") and is_number(value):
                plain = name.removeprefix(prefix)
                counted[plain] = counted.get(plain, 0) + value

    def _made(self, event: Event, call: _Call) -> None:
        """A model or a context, by its address."""
        result = _address(event.arguments[0].value) if event.arguments else None
        if result is None:
            return
        if call.name.startswith(_LOADS):
            self._models[event.process, result] = {
                **call.fields, **event.fields, **self._annotations(event),
                "load_ns": event.elapsed_ns,
            }  # fmt: skip
        elif call.name in _CONTEXTS:
            fields = {**call.fields, **event.fields, **self._annotations(event)}
            self._contexts[event.process, result] = call.model, fields

    def _enqueued(self, event: Event, call: _Call, step: Step) -> None:
        step.enqueued_ns = event.elapsed_ns
        if event.outcome is Outcome.ERROR:
            step.failure = _failure(event)
            return
        completed_ns = event.fields.get("completed_ns")
        if is_number(completed_ns):
            step.completed_ns, step.completed_by = (
                completed_ns,
                "llama_synchronize by the recording",
            )
        else:
            self._pending.setdefault(call.key, []).append(step)

    def _completed(self, event: Event, call: _Call) -> None:
        for step in self._pending.pop(call.key, ()):
            step.completed_ns = event.monotonic_ns - step.begin_ns
            step.completed_by = call.name
            step.waited_ns = event.elapsed_ns

    def _first_token_without_sampling(self) -> None:
        """A program that samples itself: the first batch's completion is as near as it gets."""
        request = self._request
        first = next((step for step in request.steps if step.completed_ns is not None), None)
        if first is not None and first.completed_ns is not None:
            request.first_token_ns = first.begin_ns + first.completed_ns - request.begin_ns
            request.first_token_by = f"completion of the first batch ({first.completed_by})"


def _key(event: Event, context: int | None) -> _Key:
    return event.process, -event.thread if context is None else context


def _argument(event: Event, position: int) -> int | None:
    if position >= len(event.arguments):
        return None
    return _address(event.arguments[position].value)


def _address(value: Value) -> int | None:
    if isinstance(value, Pointer):
        return value.address
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _failure(event: Event) -> str:
    text = f": {event.error_text}" if event.error_text else ""
    return f"{event.error_type or 'error'}{text}"


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Value) -> int | None:
    return value if is_number(value) else None
