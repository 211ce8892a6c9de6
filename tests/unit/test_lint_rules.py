"""What the rules of the linter say of single texts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_narration import Level
from gpu_narration._errors import OptionError
from gpu_narration.editorial import check_template, rules
from gpu_narration.editorial.checks import Kind
from gpu_narration.editorial.linter import lint_source
from gpu_narration.editorial.speech import speeches
from gpu_narration.editorial.text import PLACEHOLDER_CHARS

WITH_EXAMPLES = [rule for rule in rules.RULES.values() if rule.bad]


def codes(kind: str, text: str, level: Level | str | None = "info") -> list[str]:
    return [finding.code for finding in check_template(kind, text, level)]


def lint(line: str) -> set[str]:
    source = f"from gpu_narration import *\n{line}\n"
    return {finding.code for finding in lint_source(source, "example.py")}


# ---- every rule by its own example ----


@pytest.mark.parametrize("rule", WITH_EXAMPLES, ids=lambda rule: rule.code)
def test_the_bad_example_of_a_rule_breaks_it_and_no_other(rule: rules.Rule) -> None:
    assert lint(rule.bad) == {rule.code}


@pytest.mark.parametrize("rule", WITH_EXAMPLES, ids=lambda rule: rule.code)
def test_the_good_example_of_a_rule_breaks_none(rule: rules.Rule) -> None:
    assert lint(rule.good) == set()


def test_every_rule_belongs_to_a_family_and_has_an_explanation() -> None:
    for code in rules.RULES:
        assert code[:3] in rules.FAMILIES
        assert rules.RULES[code].why in rules.explain(code)


# ---- length ----


@pytest.mark.parametrize(
    ("level", "limit"),
    [("trace", 100), ("debug", 100), ("info", 100), ("warn", 120), ("error", 150), ("fatal", 150),
     (None, 150)],
)  # fmt: skip
def test_human_may_be_as_long_as_its_level_allows(level: str | None, limit: int) -> None:
    assert codes("human", "x" * limit, level) == []
    assert codes("human", "x" * (limit + 1), level) == ["GN101"]


@pytest.mark.parametrize(
    ("kind", "limit", "code"), [("cute", 150, "GN102"), ("trace", 100, "GN101")]
)
def test_the_other_texts_have_limits_of_their_own(kind: str, limit: int, code: str) -> None:
    assert codes(kind, "x" * limit) == []
    assert codes(kind, "x" * (limit + 1)) == [code]


def test_a_story_may_have_200_characters() -> None:
    told = '"Go!" said {}'
    fill = "x" * (200 - len(told) + 2 - PLACEHOLDER_CHARS)
    assert codes("story", told + fill) == []
    assert codes("story", told + fill + "x") == ["GN103"]


@pytest.mark.parametrize(
    ("field", "chars"),
    [("{x}", 8), ("{x.y[z]}", 8), ("{x:20}", 20), ("{x:>4d}", 4), ("{x:.2f}", 8)],
)
def test_a_placeholder_counts_as_8_characters_or_its_width(field: str, chars: int) -> None:
    assert codes("human", field + "x" * (100 - chars)) == []
    assert codes("human", field + "x" * (101 - chars)) == ["GN101"]


# ---- who acts ----


@pytest.mark.parametrize(
    "text",
    [
        "The job was dispatched by the scheduler",
        "The job was dispatched to gpu0 by {scheduler}",
        "{job} is being held by another worker",
        "The request has just been rejected by gpu0",
        "Weights are read by the loader",
        "The lock got taken by worker-3",
    ],
)
def test_a_passive_with_its_agent_is_found(text: str) -> None:
    assert codes("human", text) == ["GN201"]


@pytest.mark.parametrize(
    "text",
    ["The job was dispatched", "Two requests have been sent to gpu0", "The queue is being drained",
     "{job} was quickly restarted", "The file was not found"],
)  # fmt: skip
def test_a_passive_without_an_agent_is_found(text: str) -> None:
    assert codes("human", text) == ["GN202"]


@pytest.mark.parametrize(
    "text",
    [
        "Dispatched the job by hand",
        "The model is loaded",
        "The pool is closed by default",
        "VRAM was reduced by 3 GiB",
        "Batches are sorted by length",
        "The pool was exhausted",
        "Restarted the worker that was stopped",
        "The device was red hot",
        "Proceeding by batches of 8",
        "Decoding token 5 of 100",
        "The stream was idle for 3 s",
        "Two hundred requests are waiting by the door",
        "The batch was split into 4 by size",
        "The GPU was busy, seed 17",
        "The target was unexpected",
        "Standing by",
    ],
)
def test_active_sentences_states_and_measures_are_no_passives(text: str) -> None:
    assert codes("human", text) == []


@pytest.mark.parametrize(
    "text", ["It will retry", "We'll see", "The pool is going to restart", "{pool} will not start"]
)
def test_the_future_is_found(text: str) -> None:
    assert codes("human", text) == ["GN203"]


@pytest.mark.parametrize("text", ["The will of the pool", "Going to sleep", "Free will: {will}"])
def test_what_only_sounds_like_the_future_is_none(text: str) -> None:
    assert codes("human", text) == []


# ---- saying something ----


@pytest.mark.parametrize(
    "text",
    ["An error occurred", "Something went wrong", "error", "Failed!", "Unknown error",
     "An unexpected exception happened.", "There was a problem", "{module}: an error occurred"],
)  # fmt: skip
def test_an_error_without_a_name_is_vague(text: str) -> None:
    assert codes("human", text) == ["GN204"]


@pytest.mark.parametrize(
    "text",
    ["An error occurred: {error}", "Something went wrong because the disk is full",
     "Error 717 from the driver", "Failed to load {model}", "Unexpected error: out of memory"],
)  # fmt: skip
def test_an_error_with_a_name_is_not(text: str) -> None:
    assert codes("human", text) == []


# ---- units ----


@pytest.mark.parametrize(
    "text",
    ["Decoded in {elapsed_ms}", "took {elapsed}", "timeout of 30", "latency: 15.2", "Waited 5, then left",
     "finished in 15.", "size {size_bytes} on gpu0", "after {total_seconds} of waiting", "ETA 420"],
)  # fmt: skip
def test_a_time_or_size_without_a_unit_is_found(text: str) -> None:
    assert codes("human", text) == ["GN205"]


@pytest.mark.parametrize(
    "text",
    ["Decoded in {elapsed_ms} ms", "took {elapsed:.1f}s", "timeout of 30 s", "ETA 420 ms", "in 2025.",
     "elapsed_ms={elapsed_ms}", "latency (ms): {latency}", "{used_bytes}/{total_bytes} bytes",
     "from {old_ms} to {new_ms} ms", "took {lock} from {owner}", "memory {name} is full",
     "VRAM at {share:.0%}", "token 5 of 100", "layer 3", "step {s}", "gpu0 took 3 tries", "size {size_text}",
     "after 3 of 5 attempts", "using {memory_pool}"],
)  # fmt: skip
def test_numbers_with_units_and_other_numbers_are_let_be(text: str) -> None:
    assert codes("human", text) == []


# ---- ids and secrets ----


@pytest.mark.parametrize(
    "text",
    ["Accepted 018f2a6e-7c3b-7def-8a12-0123456789ab", "Wrote {sha256}", "Job {job_uuid}", "At 0x7f3a12bc9de0",
     "Trace {trace_id}", "Commit 4bf92f3577b34da6a3ce929d0e0e4736"],
)  # fmt: skip
def test_an_opaque_id_is_found(text: str) -> None:
    assert codes("human", text) == ["GN206"]


@pytest.mark.parametrize(
    "text",
    [
        "Job {job_id}",
        "worker-gpu0-r1",
        "Error 0x80004005",
        "facade deadbeefcafe",
        "20251124171359",
        "7b model",
    ],
)
def test_names_that_people_know_are_no_opaque_ids(text: str) -> None:
    assert codes("human", text) == []


@pytest.mark.parametrize(
    "text",
    [
        "With {password}",
        "With {user.api_key}",
        "With {config[client_secret]}",
        "password={x}",
        "api_key: {x}",
    ],
)
@pytest.mark.parametrize("kind", ["human", "cute", "trace", "detail"])
def test_a_secret_by_its_name_is_found_in_every_text(kind: str, text: str) -> None:
    assert codes(kind, text) == ["GN401"]


@pytest.mark.parametrize(
    "text", ["token={x}", "next token: {token}", "cache key {key}", "{has_password}", "{secret_name}", "monkey={x}",
             "{password_length} characters"],
)  # fmt: skip
def test_tokens_keys_and_what_is_said_about_secrets_are_none(text: str) -> None:
    assert codes("human", text) == []


# ---- voices ----


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ('"Ready?" asked gpu0', ["Ready?"]),
        ("“Ready,” said gpu0. “Go!”", ["Ready,", "Go!"]),
        ("«Prêt ?» demanda gpu0", ["Prêt ?"]),
        ("„Fertig.“ gpu0", ["Fertig."]),
        ("'Don't worry,' said gpu0, 'it's mine.'", ["Don't worry,", "it's mine."]),
        ("‘Don’t worry,’ said gpu0", ["Don’t worry,"]),
        ("'The workers' queue is empty,' said gpu0", ["The workers' queue is empty,"]),
        ('gpu0 said "hello"', ["hello"]),
        ('gpu0: "hello"', ["hello"]),
        ('"Don\'t go," said gpu0', ["Don't go,"]),
        ("The workers' queue wasn't gpu0's", []),
        ("'Tis the season, and rock 'n' roll", []),
        ("The 'q0' queue and the \"fast\" one", []),
        ('The llama "Bob" says hi', []),
        ("Model 'llama-7b' is up", []),
        ("it’s the llamas’ home", []),
        ('"!!!"', []),
        ("", []),
    ],
)
def test_speech_is_told_from_apostrophes_and_names(text: str, spoken: list[str]) -> None:
    assert [speech.words for speech in speeches(text)] == spoken


@pytest.mark.parametrize(
    "text",
    ['"Ready?" asked gpu0', "“Go,” beamed gpu0", 'The pool asked: "Who is free?"', '{pool} said, "Done."',
     '"Room?" {engine} asked. "Yes," said gpu0', "'Don't worry,' whispered the cache"],
)  # fmt: skip
def test_a_story_with_a_speaker_is_fine(text: str) -> None:
    assert codes("story", text) == []


def test_a_story_needs_speech() -> None:
    assert codes("story", "The worker's queue wasn't empty") == ["GN302"]


def test_speech_needs_a_speaker() -> None:
    assert codes("story", 'The worker woke up. "Ready!" The GPU woke up') == ["GN303"]


def test_nobody_speaks_in_cute() -> None:
    assert codes("cute", '"Hello!" said the llama') == ["GN301"]


# ---- the function ----


def test_an_unknown_kind_or_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match="human, error_human, cute, story, trace, detail"):
        check_template("humam", "x")
    with pytest.raises(OptionError, match="mute, trace, debug, info"):
        check_template("human", "x", "loud")


def test_what_is_no_template_is_judged_as_it_stands() -> None:
    assert codes("human", "An error occurred {") == ["GN204"]


@given(st.sampled_from(list(Kind)), st.text(), st.none() | st.sampled_from(list(Level)))
def test_no_text_makes_the_rules_fail(kind: Kind, text: str, level: Level | None) -> None:
    assert {finding.code for finding in check_template(kind, text, level)} <= set(rules.RULES)


@given(
    st.sampled_from(list(Kind)), st.text(alphabet="\"'‘’“”{}:., \ufffcabs0159=-_/", max_size=300)
)
def test_no_text_of_odd_characters_makes_the_rules_fail(kind: Kind, text: str) -> None:
    assert {finding.code for finding in check_template(kind, text)} <= set(rules.RULES)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "part",
    [
        "'a",
        "' a'",
        '"',
        "was ",
        "was reallyly ",
        "{x}/",
        "1,",
        "1/",
        "took ",
        "a:",
        "a.",
        "’a’ ",
        "0x0",
        "ab0",
        "will not ",
    ],
)
def test_the_time_for_a_long_text_grows_no_faster_than_the_text(kind: Kind, part: str) -> None:
    """GIVEN one pattern again and again THEN twice as many take at most about twice as long.

    Only the first characters are read for most rules, so sizes beyond that cost next to nothing.
    """

    def seconds(count: int) -> float:
        begin = time.perf_counter()
        check_template(kind, part * count)
        return time.perf_counter() - begin

    short = min(seconds(4000) for _ in range(3))
    long = min(seconds(16000) for _ in range(3))
    assert long <= 10 * max(short, 0.001)
