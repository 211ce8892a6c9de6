"""The filter's directives: what they mean, and what is said where they do not parse."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpu_narration
from gpu_narration import FilterError, Level
from gpu_narration._types import OFF
from gpu_narration.filters import Filter, parse
from tests.conftest import Record


def test_an_empty_filter_lets_everything_through() -> None:
    assert parse("") == Filter()
    assert parse("").passes_everything


def test_a_level_alone_is_the_default() -> None:
    assert parse("info").threshold("any.module", "any") == Level.INFO


def test_without_a_default_everything_else_is_recorded() -> None:
    parsed = parse("tokenizer=off")
    assert parsed.threshold("app", "orchestrator") == Level.TRACE


def test_the_last_default_wins() -> None:
    assert parse("info,error").default == Level.ERROR


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("trace", Level.TRACE),
        ("debug", Level.DEBUG),
        ("info", Level.INFO),
        ("warn", Level.WARN),
        ("warning", Level.WARN),
        ("error", Level.ERROR),
        ("fatal", Level.FATAL),
        ("off", OFF),
        ("mute", OFF),
        ("none", OFF),
        ("INFO", Level.INFO),
    ],
)
def test_every_level_has_its_word(word: str, level: int) -> None:
    assert parse(f"a={word}").threshold("", "a") == level


@pytest.mark.parametrize(
    ("module", "actor"),
    [
        ("myapp.worker", "x"),
        ("myapp.worker.pool", "x"),
        ("other", "myapp.worker"),
        ("other", "myapp.worker.pool"),
    ],
)
def test_a_name_covers_itself_and_what_lies_below_it(module: str, actor: str) -> None:
    """GIVEN a directive THEN it holds for modules and for actors alike."""
    assert parse("off,myapp.worker=debug").threshold(module, actor) == Level.DEBUG


@pytest.mark.parametrize(
    "module", ["myapp", "myapp.workers", "myapp.worker2.pool", "xmyapp.worker"]
)
def test_a_name_does_not_cover_its_neighbours(module: str) -> None:
    assert parse("off,myapp.worker=debug").threshold(module, "x") == OFF


@pytest.mark.parametrize("text", ["a=error,a.b=debug,a.b.c=info", "a.b.c=info,a.b=debug,a=error"])
def test_the_longest_name_wins_in_any_order(text: str) -> None:
    assert parse(text).threshold("a.b.x", "") == Level.DEBUG


def test_two_colons_are_read_as_a_dot() -> None:
    assert parse("info,myapp::worker=trace") == parse("info,myapp.worker=trace")


def test_spaces_and_empty_parts_mean_nothing() -> None:
    assert parse(" info , , a = debug ,") == parse("info,a=debug")


def test_off_for_one_name_keeps_the_rest() -> None:
    parsed = parse("trace,tokenizer=off")
    assert parsed.threshold("app", "tokenizer") == OFF
    assert parsed.threshold("app", "engine") == Level.TRACE


@pytest.mark.parametrize("text", ["info", "a=off", "trace,a=debug"])
def test_a_filter_that_keeps_something_out_says_so(text: str) -> None:
    assert not parse(text).passes_everything


@pytest.mark.parametrize("text", ["trace", "a=trace", "trace,a=trace,b.c=trace"])
def test_a_filter_of_trace_only_passes_everything(text: str) -> None:
    assert parse(text).passes_everything


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("info,a=loud", "'a=loud'"),
        ("loud", "'loud'"),
        ("=info", "'=info'"),
        ("a b=info", "'a b=info'"),
        ("a=info=debug", "'a=info=debug'"),
        ("a=", "'a='"),
    ],
)
def test_what_does_not_parse_is_named(text: str, part: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert part in str(caught.value)


def test_a_misspelt_level_gets_a_suggestion() -> None:
    with pytest.raises(FilterError, match=r"did you mean debug\?"):
        parse("a=debgu")


def test_a_level_like_no_other_gets_the_list() -> None:
    with pytest.raises(FilterError, match="trace debug info warn"):
        parse("a=qqqqqq")


@given(st.text(max_size=40))
def test_any_text_parses_or_is_a_filter_error(text: str) -> None:
    try:
        parsed = parse(text)
    except FilterError:
        return
    assert Level.TRACE <= parsed.threshold("module", "actor") <= OFF


@given(
    st.dictionaries(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join),
        st.sampled_from([Level.TRACE, Level.INFO, OFF]),
        max_size=6,
    ),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=5).map(".".join),
)
def test_the_threshold_is_that_of_the_longest_covering_prefix(
    directives: dict[str, int], actor: str
) -> None:
    """GIVEN an actor WHEN its prefixes are tried from the longest THEN the first hit counts."""
    parts = actor.split(".")
    prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    expected = next((directives[p] for p in prefixes if p in directives), Level.ERROR)
    assert Filter(Level.ERROR, directives).threshold("", actor) == expected


# ---- thinning, outputs, and what is said of wrong ones ----


def test_a_thinned_level_carries_its_number_above_the_level() -> None:
    parsed = parse("engine.decode=trace/100")
    assert parsed.threshold("", "engine", "decode") == Level.TRACE | 100 << 8
    assert not parsed.passes_everything


def test_an_actor_and_its_action_are_a_name() -> None:
    parsed = parse("off,engine.decode=trace")
    assert parsed.threshold("app", "engine", "decode") == Level.TRACE
    assert parsed.threshold("app", "engine", "prefill") == OFF


def test_directives_of_the_console_do_not_touch_what_is_recorded() -> None:
    parsed = parse("info, console:warn, console:engine=trace, file:tokenizer=off")
    assert parsed.threshold("app", "engine") == Level.INFO
    assert parsed.threshold("app", "tokenizer") == OFF
    assert parsed.console is not None
    assert parsed.console.threshold("app", "x") == Level.WARN
    assert parsed.console.threshold("app", "engine") == Level.TRACE


def test_without_such_directives_the_console_shows_everything() -> None:
    assert parse("info,a=trace").console is None


def test_two_colons_begin_no_output() -> None:
    assert parse("console::worker=warn") == parse("console.worker=warn")


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("consol:warn", "did you mean console:warn?"),
        ("tokenizer:off", "did you mean tokenizer=off?"),
        ("tokenizer off", "did you mean tokenizer=off?"),
        ("tokenizer", "a name needs a level, as in tokenizer=trace"),
        ("myapp::worker", "a name needs a level, as in myapp::worker=trace"),
        ("info;a=warn", "directives are separated by commas"),
        ("a=trace;b=warn", "directives are separated by commas"),
        ("a=trase/100", "did you mean trace?"),
        ("a=trace/0", "with N from 1"),
        ("a=trace/-1", "with N from 1"),
        ("a=trace/x", "with N from 1"),
        ("a=trace/", "with N from 1"),
        ("a=trace/9999999999", "with N from 1"),
        ("a=off/10", "off and the console are not thinned"),
        ("console:trace/10", "off and the console are not thinned"),
    ],
)
def test_a_wrong_directive_gets_a_suggestion(text: str, suggestion: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(f"info,{text},warn")
    assert suggestion in str(caught.value)
    assert f"filter directive {text.partition(',')[0]!r}" in str(caught.value)


def test_every_thread_follows_a_filter_that_changes(record: Record) -> None:
    """GIVEN threads that trace WHEN the filter turns them off THEN no event comes after that,
    from any of them."""
    recorder = record.start()
    go = threading.Barrier(5)

    def work() -> None:
        for _ in range(50):
            gpu_narration.trace_tiny("app", "before", "x", "y")
        go.wait(10)  # all have traced
        go.wait(10)  # the filter has changed
        for _ in range(50):
            gpu_narration.trace_tiny("app", "after", "x", "y")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    go.wait(10)
    gpu_narration.set_filter("app=off")
    go.wait(10)
    for thread in threads:
        thread.join(10)
    recorded = record.stop()
    assert len(recorded.named("before")) == 200
    assert recorded.named("after") == []
    assert recorder.stats()["records"] == 200
