"""The phrase book: events of the GPU and of libraries in other voices, with the same facts."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gpu_narration._types import Kind, Level, Outcome
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.events import Site
from gpu_narration.views.sentences import sentence

GIB = 1 << 30


def event(kind: Kind, *names: str | None, phase: Phase = Phase.INSTANT, **fields: Any) -> Event:
    padded = (*names, None, None, None, None)[:4]
    site = Site(1, kind, Level.TRACE, 0, "app", padded)
    made = Event(
        process=0, thread=2, seq=0, id=1, monotonic_ns=0, site=site, phase=phase, names=padded
    )
    for name in ("elapsed_ns", "outcome"):
        if name in fields:
            setattr(made, name, fields.pop(name))
    made.fields.update(fields)
    return made


LAUNCH = event(Kind.LAUNCH, "cuda", "launch", "saxpy")
ENDED: dict[str, Any] = {"phase": Phase.END, "elapsed_ns": 1_500_000}
#: Name, event, what was learned of it; then what each voice says.
BOOK: list[tuple[Event, dict[str, Any], str, str]] = [
    (LAUNCH, {"device": 0},
     "saxpy hopped onto gpu0",
     '"I am on my way," said saxpy to gpu0.'),
    (LAUNCH, {"device": 0, "gpu_ns": 31_000},
     "saxpy zipped through gpu0 in 0.031 ms",
     '"Done in 0.031 ms," said saxpy on gpu0.'),
    (LAUNCH, {"device": 1, "gpu_ns": 31_000, "simulated": True},
     "saxpy zipped through simulated gpu1 in 0.031 ms",
     '"Done in 0.031 ms," said saxpy on simulated gpu1.'),
    (LAUNCH, {"device": 0, "error": "invalid"},
     "saxpy tripped on its way to gpu0",
     '"I could not set out for gpu0," said saxpy.'),
    (event(Kind.VRAM, "vram", None, device=0, before_bytes=5 * GIB, used_bytes=6 * GIB, in_scope="load"), {},
     "gpu0 tucked away 1.0 GiB in load; 6.0 GiB are snug in there now",
     '"I carry 1.0 GiB more in load, 6.0 GiB in all," said gpu0.'),
    (event(Kind.VRAM, "vram", None, device=0, before_bytes=6 * GIB, used_bytes=5 * GIB), {"by_others": True},
     "gpu0 let go of 1.0 GiB that others moved; 5.0 GiB are still tucked in",
     '"1.0 GiB lighter that others moved, 5.0 GiB to go," said gpu0.'),
    (event(Kind.FOREIGN, "llama", "llama_decode", phase=Phase.BEGIN), {},
     "llama, would you llama_decode, please?",
     '"Please, llama_decode," said the program to llama.'),
    (event(Kind.FOREIGN, "llama", "llama_decode", outcome=Outcome.OK, **ENDED), {},
     "llama_decode is back from llama after 1.500 ms",
     '"Here you are, llama_decode, in 1.500 ms," said llama.'),
    (event(Kind.FOREIGN, "llama", "llama_decode", outcome=Outcome.ERROR, **ENDED), {},
     "llama_decode stumbled in llama after 1.500 ms",
     '"llama_decode did not go well, after 1.500 ms," said llama.'),
    (event(Kind.SPAN, "cuda", "stream_synchronize", phase=Phase.BEGIN), {},
     "A little nap, waiting for a stream",
     '"I will wait for you," said the program to a stream.'),
    (event(Kind.SPAN, "cuda", "memcpy", outcome=Outcome.OK, **ENDED), {},
     "The nap is over: a copy took 1.500 ms",
     '"There you are, after 1.500 ms," said the program to a copy.'),
    (event(Kind.NARRATION, "vram", "out_of_memory", device=0, vram_requested_bytes=2 * GIB,
           vram_free_bytes=GIB), {},
     "gpu0 is full to the brim: 2.0 GiB knocked, 1.0 GiB were free",
     '"There is no room," said gpu0, "2.0 GiB is too much: I have 1.0 GiB free."'),
]  # fmt: skip


@pytest.mark.parametrize(("told", "learned", "cute", "story"), BOOK)
def test_what_each_voice_says(told: Event, learned: dict[str, Any], cute: str, story: str) -> None:
    assert sentence(told, learned, "cute") == cute
    assert sentence(told, learned, "story") == story


@pytest.mark.parametrize(("told", "learned", "cute", "story"), BOOK)
def test_the_book_keeps_to_the_rules_for_voices(
    told: Event, learned: dict[str, Any], cute: str, story: str
) -> None:
    """Cute has at most 150 characters and no speech; story at most 200, and says who speaks."""
    assert len(cute) <= 150
    assert '"' not in cute
    assert len(story) <= 200
    assert re.search(r'".+[,?]"? said ', story)


@pytest.mark.parametrize("voice", ["cute", "story"])
@pytest.mark.parametrize(
    "told",
    [
        event(Kind.VRAM, "vram", None, device=0, used_bytes=None, reason="MIG"),
        event(Kind.VRAM, "vram", None, device=0, used_bytes=GIB),
        event(Kind.NARRATION, "vram", "out_of_memory", device=0, vram_free_bytes=None),
        event(Kind.NARRATION, "vram", "out_of_memory", device=0, vram_requested_bytes=GIB,
              vram_free_bytes=GIB, null=True, failed="malloc"),
        event(Kind.TINY, "a", "b", "c", "said"),
        event(Kind.NARRATION, "a", "b", "c", "said"),
        event(Kind.SPAN, "engine", "prefill", phase=Phase.BEGIN),
    ],
)  # fmt: skip
def test_where_a_fact_or_a_phrase_is_missing_the_human_sentence_stands(
    told: Event, voice: str
) -> None:
    assert sentence(told, {}, voice) == sentence(told, {}, "human")


def test_what_the_program_says_goes_before_the_book() -> None:
    told = event(Kind.FOREIGN, "llama", "llama_decode", phase=Phase.BEGIN, cute="my own words")
    assert sentence(told, {}, "cute") == "my own words"
