"""The six light calls and narrate: what a call leaves is exactly one line."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as given_any
from hypothesis import strategies as st

from gpu_narration import (
    Level,
    correlation,
    narrate,
    set_filter,
    trace_enter,
    trace_exit,
    trace_loop,
    trace_state,
    trace_tiny,
    trace_with_correlation,
)
from gpu_narration.views.templates import fill

LINES = {
    "tiny": (
        lambda: trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {} of {}", 5, 100),
        'TRACE tokenizer decode token_5 "Decoding token 5 of 100"',
    ),
    "correlated": (
        lambda: trace_with_correlation(
            "orchestratord", "select_worker", "worker-gpu0-r1",
            "Evaluating worker-gpu0-r1: load={}/{}", "job-7", 2, 8,
        ),
        ('TRACE orchestratord select_worker worker-gpu0-r1 correlation_id="job-7" '
        '"Evaluating worker-gpu0-r1: load=2/8"'),
    ),
    "enter": (
        lambda: trace_enter("orchestratord", "dispatch_job", "job_id={}, pool_id={}", "job-123", "default"),
        'TRACE orchestratord enter dispatch_job "ENTER dispatch_job(job_id=job-123, pool_id=default)"',
    ),
    "enter without arguments": (
        lambda: trace_enter("orchestratord", "dispatch_job"),
        'TRACE orchestratord enter dispatch_job "ENTER dispatch_job()"',
    ),
    "exit": (
        lambda: trace_exit("orchestratord", "dispatch_job", "→ {} ({}ms)", "worker-gpu0-r1", 15),
        'TRACE orchestratord exit dispatch_job "EXIT dispatch_job → worker-gpu0-r1 (15ms)"',
    ),
    "exit without its arrow": (
        lambda: trace_exit("orchestratord", "dispatch_job", "worker-gpu0-r1 (15ms)"),
        'TRACE orchestratord exit dispatch_job "EXIT dispatch_job → worker-gpu0-r1 (15ms)"',
    ),
    "exit without a result": (
        lambda: trace_exit("orchestratord", "dispatch_job"),
        'TRACE orchestratord exit dispatch_job "EXIT dispatch_job"',
    ),
    "loop": (
        lambda: trace_loop("orchestratord", "select_worker", 0, 8, "worker={}, load={}/{}", "worker-gpu0-r1", 2, 8),
        'TRACE orchestratord select_worker iter_0/8 "Iteration 0/8: worker=worker-gpu0-r1, load=2/8"',
    ),
    "state": (
        lambda: trace_state(
            "orchestratord", "queue_depth", "{} → {}", "Queue depth changed: {} → {} (added job-123)", 5, 6
        ),
        ('TRACE orchestratord state_change queue_depth transition="5 → 6" '
        '"Queue depth changed: 5 → 6 (added job-123)"'),
    ),
    "narrate": (
        lambda: narrate("orchestratord", "accept", "job-123", "Accepted request; queued at position 3 (ETA 420 ms)"),
        'INFO orchestratord accept job-123 "Accepted request; queued at position 3 (ETA 420 ms)"',
    ),
    "narrate with fields": (
        lambda: narrate("orchestratord", "accept", "job-123", "Accepted", level=Level.WARN, position=3, pool="a b"),
        'WARN orchestratord accept job-123 position=3 pool="a b" "Accepted"',
    ),
    "narrate with braces": (
        lambda: narrate("a", "b", "{0}", "{} and {name}"),
        'INFO a b {0} "{} and {name}"',
    ),
    "empty target": (
        lambda: trace_tiny("a", "b", "", "said"),
        'TRACE a b "said"',
    ),
    "target of two words": (
        lambda: trace_tiny("a", "b", "two words", "said"),
        'TRACE a b "two words" "said"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_call_is_exactly_one_line(record, name):
    call, expected = LINES[name]
    record.start()
    call()
    assert record.stop().lines == [expected]


def test_a_call_returns_none_while_recording(record):
    record.start()
    returned = trace_tiny("a", "b", "c", "d")
    record.stop()
    assert returned is None


def test_braces_without_arguments_are_literal(record):
    record.start()
    trace_tiny("a", "b", "token_{}", 'json {"x": {}} {0} {{')
    assert record.stop().lines == ['TRACE a b token_{} "json {\\"x\\": {}} {0} {{"']


def test_doubled_braces_with_arguments_are_one(record):
    record.start()
    trace_tiny("a", "b", "c", "{{{}}}", 1)
    assert record.stop().lines == ['TRACE a b c "{1}"']


def test_a_value_is_never_read_as_a_template(record):
    record.start()
    trace_tiny("a", "b", "{}", "{} {}", "{1}", "{0.__class__}")
    assert record.stop().lines == ['TRACE a b {1} "{1} {0.__class__}"']


def test_numbered_fields_and_formats_are_filled(record):
    record.start()
    trace_tiny("a", "b", "c", "{1:>4}|{0:.2f}|{1!r}", 1.005, "x")
    assert record.stop().lines == ["TRACE a b c \"   x|1.00|'x'\""]


@pytest.mark.parametrize(
    "template",
    ["{} {} {}", "{name}", "{0", "}", "{0.real}", "{0[0]}", "{:d}", "{:99999999}", "{:{}}", "{!z}", "{-1}"],
)  # fmt: skip
def test_a_template_that_does_not_fit_is_shown_with_its_values(record, template):
    record.start()
    trace_tiny("a", "b", "c", template, "value")
    assert record.stop().lines == [
        f'TRACE a b c "{template} [the template does not fit its values: value]"'
    ]


def test_a_target_that_does_not_fit_leaves_the_sentence_alone(record):
    record.start()
    trace_tiny("a", "b", "t{5}", "said {}", 1)
    assert record.stop().lines == [
        'TRACE a b "t{5} [the template does not fit its values: 1]" "said 1"'
    ]


@settings(max_examples=200)
@given_any(st.text(), st.lists(st.integers() | st.floats() | st.text(), min_size=1, max_size=4))
def test_filling_a_template_never_raises(template, values):
    assert isinstance(fill(template, values), str)


def test_keyword_calls_are_the_same_line(record):
    record.start()
    trace_tiny(human="d", target="c", action="b", actor="a")
    trace_enter("a", function="f", args="x")
    trace_exit(actor="a", function="f")
    trace_loop("a", "b", total=2, index=1, detail="d")
    assert record.stop().lines == [
        'TRACE a b c "d"',
        'TRACE a enter f "ENTER f(x)"',
        'TRACE a exit f "EXIT f"',
        'TRACE a b iter_1/2 "Iteration 1/2: d"',
    ]


WRONG = {
    "tiny with three": lambda: trace_tiny("a", "b", "c"),
    "tiny with none": trace_tiny,
    "correlated with four": lambda: trace_with_correlation("a", "b", "c", "d"),
    "enter with one": lambda: trace_enter("a"),
    "exit with one": lambda: trace_exit("a"),
    "loop with four": lambda: trace_loop("a", "b", 1, 2),
    "state with three": lambda: trace_state("a", "b", "c"),
    "unknown keyword": lambda: trace_tiny("a", "b", "c", "d", nope=1),
    "twice the same": lambda: trace_tiny("a", "b", "c", "d", actor="x"),
    "keyword missing": lambda: trace_tiny(actor="a", action="b", target="c"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("recording", [False, True])
def test_a_wrong_number_of_arguments_is_a_type_error_in_every_state(record, name, recording):
    if recording:
        record.start()
    try:
        with pytest.raises(TypeError):
            WRONG[name]()
    finally:
        if recording:
            assert record.stop().events == []


def test_a_name_that_is_no_string_is_shown_and_not_refused(record):
    record.start()
    trace_tiny(5, None, ["x"], 1.5)
    assert record.stop().lines == ['TRACE 5 None list[1] "1.5"']


def test_nothing_is_recorded_before_start_and_after_stop(record):
    trace_tiny("a", "b", "before", "")
    record.start()
    trace_tiny("a", "b", "while", "")
    recorded = record.stop()
    trace_tiny("a", "b", "after", "")
    assert [event.names[2] for event in recorded.events] == ["while"]


def test_a_second_recording_knows_the_sites_of_the_first(record):
    def call():
        trace_tiny("a", "b", "c", "{}", 1)

    for _ in range(2):
        record.start()
        call()
        assert record.stop().lines == ['TRACE a b c "1"']


def test_names_made_anew_for_each_call_arrive_whole(record):
    record.start()
    for i in range(300):
        trace_tiny("a", f"act{i}", f"target {i}", f"says {i}")
    assert record.stop().lines == [f'TRACE a act{i} "target {i}" "says {i}"' for i in range(300)]


def test_a_name_that_repeats_may_become_a_constant_and_stays_right(record):
    record.start()
    for i in range(400):
        trace_tiny("a", "b", "".join(["t", str(i % 3)]), "")
    assert record.stop().lines == [f'TRACE a b t{i % 3} ""' for i in range(400)]


def test_narrate_says_other_voices_and_their_absence_falls_back(record):
    from gpu_narration.views import text

    record.start()
    narrate("a", "b", "c", "plain", cute="purr", story="Once")
    recorded = record.stop()
    said = [text.line(recorded.events[0], {}, voice) for voice in ("human", "cute", "story")]
    assert said == ['INFO a b c "plain"', 'INFO a b c "purr"', 'INFO a b c "Once"']


def test_narrate_gives_the_id_of_its_event(record):
    record.start()
    number = narrate("a", "b")
    assert record.stop().events[0].id == number


def test_narrate_outside_a_recording_gives_none():
    assert narrate("a", "b") is None


def test_a_muted_narration_is_not_recorded(record):
    record.start()
    assert narrate("a", "b", level=Level.MUTE) is None
    assert record.stop().events == []


def test_an_event_belongs_to_the_correlation_that_is_set(record):
    record.start()
    with correlation("job-1"):
        trace_tiny("a", "b", "c", "in")
    trace_tiny("a", "b", "c", "out")
    assert record.stop().lines == ['TRACE a b c correlation_id="job-1" "in"', 'TRACE a b c "out"']


def test_an_explicit_correlation_wins_over_the_one_that_is_set(record):
    record.start()
    with correlation("job-1"):
        trace_with_correlation("a", "b", "c", "d", "job-2")
    assert record.stop().lines == ['TRACE a b c correlation_id="job-2" "d"']


@pytest.mark.parametrize(
    ("given", "shown"), [(7, "7"), (None, "None"), ([1], "list[1]"), ("x" * 2000, "x" * 1024 + "…")]
)
def test_a_correlation_that_is_no_short_string_is_shown_all_the_same(record, given, shown):
    record.start()
    trace_with_correlation("a", "b", "c", "d", given)
    assert record.stop().events[0].correlation == shown


def test_a_filter_keeps_an_actor_out_and_lets_it_in_again(record):
    record.start()
    for text in ("loud=off", "", "info", "trace"):
        set_filter(text)
        trace_tiny("loud", "b", text, "")
        narrate("quiet", "b", text)
    assert [(event.names[0], event.names[2]) for event in record.stop().events] == [
        ("quiet", "loud=off"),
        ("loud", ""),
        ("quiet", ""),
        ("quiet", "info"),
        ("loud", "trace"),
        ("quiet", "trace"),
    ]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given_any(st.text(), st.text(), st.text(), st.text())
def test_any_names_make_one_line_that_cannot_be_forged(record, actor, action, target, human):
    record.start()
    trace_tiny(actor, action, target, human)
    (line,) = record.stop().lines
    assert line.startswith("TRACE ")
    assert len(line.splitlines()) == 1
