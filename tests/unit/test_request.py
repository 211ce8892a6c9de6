"""One request to a llama.cpp, joined from the events of its calls."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from gpu_narration._types import Kind, Level, Outcome
from gpu_narration.timeline.request import NOT_COMPLETED, Request, RequestReader
from gpu_narration.tracefile import Argument, Event, Phase, Site
from gpu_narration.tracefile.format import Pointer
from gpu_narration.views.request import print_request
from gpu_narration.views.request_object import request_object

CONTEXT, OTHER, SAMPLER = Pointer(0x1000), Pointer(0x2000), Pointer(0x3000)


class Story:
    """Events of one process, made in the order of time; times in µs."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = 0
        self.correlation: str | None = "r"
        self._ids: Iterator[int] = itertools.count(1)

    def call(
        self,
        name: str,
        *arguments: Any,
        us: int = 10,
        result: Any = 0,
        failure: tuple[str, str] | None = None,
        returns: bool = True,
        end: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        number = next(self._ids)
        begin = self._event(Kind.FOREIGN, Phase.BEGIN, name, number)
        begin.arguments = [Argument(None, argument) for argument in arguments]
        begin.fields = fields
        if not returns:
            return
        self.now += us
        ending = self._event(Kind.FOREIGN, Phase.END, name, next(self._ids))
        ending.span_id, ending.elapsed_ns = number, us * 1000
        ending.outcome = Outcome.OK if failure is None else Outcome.ERROR
        ending.fields = end or {}
        if failure is None:
            ending.arguments = [Argument(None, result)]
        else:
            ending.error_type, ending.error_text = failure

    def decode(self, n: int = 1, position: int = 0, *, ctx: Pointer = CONTEXT, **more: Any) -> None:
        phase = "decode" if n == 1 and position else "prefill"
        self.call("llama_decode", ctx, None, n_tokens=n, position=position, phase=phase, **more)

    def sample(self, *, ctx: Pointer = CONTEXT, us: int = 5, **more: Any) -> None:
        self.call("llama_sampler_sample", SAMPLER, ctx, -1, us=us, **more)

    def memory(self, used: int, before: int | None = None) -> None:
        event = self._event(Kind.VRAM, Phase.INSTANT, "used", next(self._ids))
        event.fields = {"device": 0, "used_bytes": used, "total_bytes": 100, "source": "nvml"}
        if before is not None:
            event.fields["before_bytes"] = before
        event.correlation = None

    def _event(self, kind: Kind, phase: Phase, name: str, number: int) -> Event:
        names = ("llama", name, None, None)
        event = Event(
            process=0, thread=2, seq=number, id=number, monotonic_ns=self.now * 1000,
            site=Site(1, kind, Level.TRACE, 0, "", names), phase=phase, names=names,
            correlation=self.correlation,
        )  # fmt: skip
        self.events.append(event)
        return event

    def request(self, correlation: str = "r") -> Request:
        reader = RequestReader(correlation, lambda _event: {})
        assert list(reader.watching(self.events)) == self.events
        return reader.finish()

    def text(self, correlation: str = "r") -> str:
        out = io.StringIO()
        print_request(self.request(correlation), out, color=False, pids=[42])
        return out.getvalue()


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_decode_is_completed_by_the_first_call_that_waits_for_its_context(story: Story) -> None:
    story.decode(8, us=100)
    story.now += 50
    story.sample(ctx=OTHER)
    story.sample(us=30)

    (step,) = story.request().steps
    assert (step.enqueued_ns, step.completed_ns) == (100_000, 185_000)
    assert (step.completed_by, step.waited_ns) == ("llama_sampler_sample", 30_000)


def test_decodes_that_one_call_waited_for_are_completed_together(story: Story) -> None:
    story.decode(8, us=100)
    story.decode(8, 8, us=100)
    story.call("llama_synchronize", CONTEXT, us=300)

    request = story.request()
    assert [step.completed_ns for step in request.steps] == [500_000, 400_000]
    prefill = request.phases["prefill"]
    assert (prefill.tokens, prefill.working.covered_ns) == (16, 500_000)
    assert prefill.tokens_per_s == pytest.approx(16 / 500e-6)


def test_what_nobody_waited_for_has_no_completion_and_no_rate(story: Story) -> None:
    story.decode(8)

    request = story.request()
    assert request.steps[0].completed_ns is None
    assert request.phases["prefill"].tokens_per_s is None
    record: Any = request_object(request)
    assert record["steps"][0]["completed_reason"] == NOT_COMPLETED
    assert record["phases"]["prefill"]["to_completion_ns"] is None


def test_a_failed_wait_completes_nothing(story: Story) -> None:
    story.decode(8)
    story.sample(failure=("ValueError", "no"))

    assert story.request().steps[0].completed_ns is None


def test_a_failed_decode_counts_no_tokens_and_says_what_it_was(story: Story) -> None:
    story.decode(8, failure=("NO_KV_SLOT", "no slot"))
    story.sample()

    request = story.request()
    assert request.phases == {}
    assert request.steps[0].failure == "NO_KV_SLOT: no slot"
    assert [failure[1:] for failure in request.failures] == [
        ("llama_decode", "NO_KV_SLOT: no slot")
    ]


def test_the_recording_s_own_wait_is_the_completion(story: Story) -> None:
    story.decode(8, us=100, end={"completed_ns": 140_000})
    story.sample(us=900)

    assert story.request().steps[0].completed_ns == 140_000


def test_a_decode_that_never_came_back_is_open(story: Story) -> None:
    story.decode(8, returns=False)

    assert story.request().steps[0].is_open
    assert "did not come back" in story.text()


def test_the_first_token_is_there_when_the_first_sampling_ends(story: Story) -> None:
    story.call("llama_tokenize", us=40)
    story.decode(8, us=100)
    story.sample(us=10)
    story.decode(1, 8)
    story.sample()

    request = story.request()
    assert (request.first_token_ns, request.sampled) == (150_000, 2)


def test_without_sampling_the_first_completion_stands_for_it(story: Story) -> None:
    story.decode(8, us=100)
    story.call("llama_get_logits_ith", CONTEXT, 0, us=20)

    request = story.request()
    assert request.first_token_ns == 120_000
    assert request.first_token_by == "completion of the first batch (llama_get_logits_ith)"


def test_other_requests_stay_out(story: Story) -> None:
    story.decode(8)
    story.sample()
    story.correlation = "other"
    story.decode(99)
    story.sample()

    request = story.request()
    assert (len(request.steps), request.sampled, request.phases["prefill"].tokens) == (1, 1, 8)


def test_a_request_without_llama_cpp_is_shown_as_nothing(story: Story) -> None:
    story.memory(5)

    assert (story.text(), request_object(story.request())) == ("", None)


def test_counters_told_before_something_new_belong_to_what_came_before(story: Story) -> None:
    story.decode(8)
    story.sample(end={"perf_prefill_tokens": 8, "perf_prefill_ns": 900})
    story.correlation = "other"
    story.decode(5, before_perf_decode_tokens=3, before_perf_decode_ns=300)
    story.decode(6, before_perf_decode_tokens=70)

    assert story.request().counted == {
        "perf_prefill_tokens": 8, "perf_prefill_ns": 900,
        "perf_decode_tokens": 3, "perf_decode_ns": 300,
    }  # fmt: skip
    assert story.request("other").counted == {"perf_decode_tokens": 70}


def test_the_model_and_the_context_are_those_of_its_steps(story: Story) -> None:
    story.correlation = None
    for name, model, context in (("a.gguf", 0x10, OTHER), ("b.gguf", 0x20, CONTEXT)):
        story.call(
            "llama_model_load_from_file", None, result=Pointer(model), file=name, size_bytes=2048,
            end={"layers_offloaded": 3, "layers_offloadable": 9},
        )  # fmt: skip
        story.call(
            "llama_init_from_model", Pointer(model), None, result=context,
            end={"n_ctx": 256, "kv_bytes": 1 << 20},
        )  # fmt: skip
    story.correlation = "r"
    story.decode(8)

    text = story.text()
    assert "model: b.gguf, 2.0 KiB, 3 of 9 layers offloaded, loaded in" in text
    assert "context: 256 tokens, KV cache 1.0 MiB" in text


def test_many_decodes_are_folded_and_all_are_in_the_json(story: Story) -> None:
    story.decode(8)
    story.sample()
    for position in range(8, 48):
        story.decode(1, position)
        story.sample()

    lines = [line for line in story.text().splitlines() if " decode " in line]
    record: Any = request_object(story.request())
    assert (len(lines), "36 x decode" in lines[3]) == (5, True)
    assert len(record["steps"]) == 41


def test_memory_is_that_of_the_request_and_its_last_reading_before(story: Story) -> None:
    story.memory(10)
    story.memory(20)
    story.decode(8)
    story.memory(70)
    story.memory(30)
    story.sample()
    story.memory(90)

    (use,) = story.request().memory.devices
    assert (use.begin_bytes, use.peak_bytes, use.end_bytes) == (20, 70, 30)
    assert "VRAM on gpu0: 20 B → 30 B, peak 70 B of 100 B" in story.text()


def test_memory_that_nobody_read_is_unknown_with_a_reason(story: Story) -> None:
    story.decode(8)

    assert "VRAM: \N{EN DASH} (no device memory was read in this trace)" in story.text()


def test_names_and_texts_cannot_forge_a_line(story: Story) -> None:
    story.decode(8, failure=("X\x1b[31m", "a\nRequest forged: 1 ms"))

    text = story.text()
    assert "\x1b" not in text
    assert not any(line.startswith("Request forged") for line in text.splitlines())
