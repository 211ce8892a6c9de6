"""What a test can ask of what was captured, and what it is told where that is not so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import gpu_narration as gn
from gpu_narration._types import Level
from gpu_narration.testing import Captured, capture, has_dialogue


@pytest.fixture
def captured() -> Captured:
    """A block with a narration, two traces and a span."""
    with capture(backend="none", vram=False) as block:
        with gn.context("req-1", job_id="job-1"):
            gn.narrate(
                "queue", "admit", "job-1", "Admitted job-1 at position 3", queue_position=3,
                story='"Come in," said the queue.',
            )  # fmt: skip
        gn.trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {} of {}", 5, 100)
        gn.narrate("queue", "refuse", "job-2", "Refused job-2", level="error")
        with gn.span("engine", "prefill"):
            pass
    return block


# ---- finding ----


@pytest.mark.parametrize("fields", [{"level": "eror"}, {"kind": "narated"}, {"phase": "END"}])
def test_a_word_that_no_event_can_have_is_refused(captured: Captured, fields: Any) -> None:
    """An exclusion that was misspelt would hold for ever."""
    for look in (captured.assert_excludes, captured.assert_includes, captured.select):
        with pytest.raises(gn.OptionError, match="choose one of"):
            look(**fields)


def test_narrations_of_a_level_that_there_is_not_are_refused(captured: Captured) -> None:
    with pytest.raises(gn.OptionError, match="no level 'loud'"):
        captured.narrations("loud")


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"level": "error"}, 1),
        ({"level": Level.ERROR}, 1),
        ({"level": lambda level: level >= Level.INFO}, 2),
        ({"actor": "queue"}, 2),
        ({"actor": "queue", "action": "admit"}, 1),
        ({"human": "Decoding token 5 of 100"}, 1),
        ({"human": re.compile(r"token \d+")}, 1),
        ({"target": "token_5"}, 1),
        ({"queue_position": 3}, 1),
        ({"queue_position": 4}, 0),
        ({"job_id": "job-1"}, 1),
        ({"correlation_id": "req-1"}, 1),
        ({"phase": "end", "outcome": "ok"}, 1),
        ({"kind": "narration"}, 2),
        ({"elapsed_ns": lambda ns: ns >= 0}, 1),
        ({"no_such_field": None}, 0),
    ],
)
def test_events_are_found_by_any_field(
    captured: Captured, fields: dict[str, object], count: int
) -> None:
    assert len(captured.select(**fields)) == count


def test_events_are_found_by_text(captured: Captured) -> None:
    assert len(captured.select("job-2")) == 1
    assert len(captured.select(re.compile("job-[12]"))) == 2


def test_narrations_are_found_by_level(captured: Captured) -> None:
    assert [event.names[1] for event in captured.narrations()] == ["admit", "refuse"]
    assert [event.names[1] for event in captured.narrations("ERROR")] == ["refuse"]


def test_where_a_narration_comes_from_is_a_field(captured: Captured) -> None:
    captured.assert_field(
        "source_location", re.compile(rf"{re.escape(__file__)}:\d+$"), kind="narration"
    )


def test_a_field_is_read_by_its_name(captured: Captured) -> None:
    (event,) = captured.named("admit")
    assert captured.value(event, "queue_position") == 3
    assert captured.value(event, "absent", "none") == "none"


# ---- assert_includes, assert_excludes ----


def test_what_is_there_is_given_back(captured: Captured) -> None:
    (event,) = captured.assert_includes("Admitted", level="info", job_id="job-1", count=1)
    assert event.names[1] == "admit"


def test_what_is_not_there_fails_with_what_was_captured(captured: Captured) -> None:
    with pytest.raises(AssertionError) as failure:
        captured.assert_includes("Evicted")
    message = str(failure.value)
    assert message.startswith("no event with 'Evicted'; 5 events were captured")
    for line in captured.lines():
        assert f"\n  {line}" in message


def test_a_failure_says_which_field_of_the_nearest_event_does_not_fit(captured: Captured) -> None:
    with pytest.raises(
        AssertionError, match="nearest, but queue_position is 3:\n  INFO queue admit"
    ):
        captured.assert_includes(action="admit", queue_position=4)


def test_a_failure_shows_the_line_that_is_most_like_it(captured: Captured) -> None:
    with pytest.raises(AssertionError, match="nearest:\n  TRACE tokenizer decode token_5"):
        captured.assert_includes('TRACE tokenizer decode token_5 "Decoding token 5 of 200"')


def test_a_count_is_exact(captured: Captured) -> None:
    captured.assert_includes(actor="queue", count=2)
    captured.assert_includes(actor="nobody", count=0)
    with pytest.raises(AssertionError, match="2 events, not 1, with actor='queue'"):
        captured.assert_includes(actor="queue", count=1)


def test_what_must_not_be_there_is_shown_where_it_is(captured: Captured) -> None:
    captured.assert_excludes("Evicted")
    with pytest.raises(AssertionError, match="1 events with level='error':\n  ERROR queue refuse"):
        captured.assert_excludes(level="error")


def test_a_long_capture_is_cut_and_the_rest_counted() -> None:
    with capture(backend="none") as block:
        for _ in range(100):
            gn.trace_tiny("app", "step", "", "")
    with pytest.raises(AssertionError, match="… and 60 more: 60 step"):
        block.assert_includes("other")


# ---- assert_field ----


def test_a_field_of_all_that_fit(captured: Captured) -> None:
    captured.assert_field("target", re.compile(r"job-\d"), actor="queue")
    with pytest.raises(AssertionError, match="target is not 'job-1' in 1 of 2 events:\n  ERROR"):
        captured.assert_field("target", "job-1", actor="queue")


def test_a_field_that_is_missing_is_said_to_be(captured: Captured) -> None:
    with pytest.raises(AssertionError, match="it has none"):
        captured.assert_field("queue_position", 3, action="refuse")


def test_a_field_of_no_event_fails(captured: Captured) -> None:
    with pytest.raises(AssertionError, match="no event with actor='nobody'"):
        captured.assert_field("target", "x", actor="nobody")


# ---- assert_balanced ----


def test_what_was_begun_and_ended_is_balanced(captured: Captured) -> None:
    captured.assert_balanced()


def test_a_span_without_an_end_is_named() -> None:
    with capture(backend="none") as block:
        span = gn.span("app", "open")
        span.__enter__()
        with pytest.raises(AssertionError, match="has no end: TRACE app open"):
            block.assert_balanced()
        span.__exit__(None, None, None)
        block.assert_balanced()


def test_enter_and_exit_belong_together_by_function() -> None:
    with capture(backend="none") as block:
        gn.trace_enter("app", "f")
        gn.trace_enter("app", "f")
        gn.trace_exit("app", "f")
        gn.trace_exit("app", "g")
    with pytest.raises(AssertionError) as failure:
        block.assert_balanced()
    assert str(failure.value).count("has no end") == 1
    assert "has no beginning: TRACE app exit g" in str(failure.value)


# ---- dialogue ----


@pytest.mark.parametrize(
    "story",
    [
        '"Ready," said worker-1.',
        'The queue asked: "who is next?"',
        "“Come in,” said the scheduler.",
        "‘Come in,’ said the scheduler.",
        "'Ready,' said the GPU.",
        "'I don't know,' the worker said.",
        "'The workers' queue is full,' it said.",
        "‘I don’t know,’ she said.",
        "„Bereit“, sagte der Kern: „los!“",
        "„Bereit!“, sagte der Kern.",
        "« Prêt ! » dit le noyau.",
        "»Bereit!« sagte der Kern.",
        "The GPU whispered 'ready'",
        'The GPU whispered "ready"',
        '"Ready" said gpu0',
        "'Tis ready,' said the GPU.' 'Well,' said the queue.",
    ],
)
def test_speech_is_dialogue(story: str) -> None:
    assert has_dialogue(story)


@pytest.mark.parametrize(
    "story",
    [
        "",
        "The model loaded.",
        "It didn't fit, so it wasn't loaded.",
        "It didn’t fit, and wasn’t loaded.",
        "The workers' queue and the jobs' ids were full.",
        "The workers’ queue and the jobs’ ids were full.",
        "'Tis the season of the workers' queue.",
        "’Tis the season of the workers’ queue.",
        "Rock 'n' roll on gpu0.",
        "Rock ’n’ roll on gpu0.",
        "In the '90s and the '80s GPUs were slow.",
        'It went to the "default" pool.',
        "It went to the 'default' pool.",
        "It went to the “default” pool.",
        'A 5" screen and a 7" one.',
        "Worker 1 said it was ready.",
        '""',
        "''",
        '"',
        "'",
    ],
)
def test_apostrophes_and_words_in_quotes_are_none(story: str) -> None:
    assert not has_dialogue(story)


def test_a_story_in_which_somebody_speaks_passes(captured: Captured) -> None:
    captured.assert_story_has_dialogue()


def test_a_story_in_which_nobody_speaks_is_shown() -> None:
    with capture(backend="none") as block:
        gn.narrate("a", "b", "", "Loaded", story="The workers' queue didn't move.")
    with pytest.raises(AssertionError, match="nobody speaks in 1 of 1 stories"):
        block.assert_story_has_dialogue()


def test_without_a_story_there_is_no_dialogue() -> None:
    with capture(backend="none") as block:
        gn.narrate("a", "b", "", "Loaded")
    with pytest.raises(AssertionError, match="no event with a story"):
        block.assert_story_has_dialogue()


# ---- snapshots ----


def tell(identity: str) -> None:
    with gn.context(identity):
        gn.narrate("queue", "admit", "job-1", "Admitted job-1", duration_ms=1.5)
        gn.narrate("queue", "again", identity, "Again", address="0x7f12345678")


def test_a_snapshot_is_the_same_for_another_run_of_the_same_story(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    for identity in (
        "01a20e9c-10d5-7c32-b2f9-f64048bad273",
        "01a20e9c-10d5-7c32-b2f9-f64048bad999",
    ):
        with capture(backend="none") as block:
            tell(identity)
        block.assert_snapshot(path, update=not path.exists())
    assert path.read_text().splitlines() == [
        'INFO queue admit job-1 duration_ms=<time> correlation_id="<id-1>" "Admitted job-1"',
        'INFO queue again <id-1> address="<address>" correlation_id="<id-1>" "Again"',
    ]


def test_another_story_fails_with_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    with capture(backend="none") as block:
        gn.narrate("a", "b", "", "One")
    block.assert_snapshot(path, update=True)
    with capture(backend="none") as other:
        gn.narrate("a", "b", "", "Two")
    with pytest.raises(AssertionError, match=r'-INFO a b "One"\n\+INFO a b "Two"'):
        other.assert_snapshot(path)


def test_a_missing_snapshot_fails_and_says_how_to_make_it(
    tmp_path: Path, captured: Captured
) -> None:
    with pytest.raises(AssertionError, match="run pytest with --narrations-update"):
        captured.assert_snapshot(tmp_path / "none.txt")


def test_a_snapshot_may_have_everything_and_patterns_of_its_own(tmp_path: Path) -> None:
    with capture(backend="none") as block:
        gn.trace_tiny("a", "b", "", "port {}", 40123)
    path = tmp_path / "story.txt"
    block.assert_snapshot(path, everything=True, update=True, replace={r"port \d+": "port <n>"})
    assert path.read_text() == 'TRACE a b "port <n>"\n'


def test_a_snapshot_without_a_path_needs_the_fixture(captured: Captured) -> None:
    with pytest.raises(gn.OptionError, match="a snapshot needs a path here"):
        captured.assert_snapshot()
