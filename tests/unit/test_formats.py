"""The formats pretty, JSON and logfmt: all that an event has, and nothing that it forges."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import gpu_narration as gn
from gpu_narration import narrate, span, trace_tiny
from gpu_narration._errors import OptionError
from gpu_narration.cli.show import show
from gpu_narration.views import jsonl, logfmt, pretty
from gpu_narration.views.printer import Printer
from tests.conftest import Record

HOSTILE = "\x1b[31mred\r\nFATAL forged line\u202e\u200b=\"'"


def printed(record: Record, form: str, voice: str | None = "human", **more: Any) -> str:
    """What a printer makes of the recording that runs."""
    path = record.stop().trace.path
    out = io.StringIO()
    Printer(out, voice=voice, form=form, **more).show(path)
    return out.getvalue()


def test_pretty_has_a_line_for_each_thing(record: Record) -> None:
    record.start()
    with span("engine", "prefill") as outer:
        narrate("queue", "admit", "job-7", "Admitted job-7", cute="Come in", position=3)
    number = outer.id
    lines = [line.strip() for line in printed(record, "pretty").splitlines()]
    at = lines.index("Admitted job-7")
    assert lines[at - 1].endswith("INFO  queue admit job-7")
    assert lines[at + 1] == "position=3"
    assert lines[at + 2] == "cute: Come in"
    assert lines[at + 3].startswith(f"at {__file__}:")
    assert number is None or f"in span {number}" in lines[at + 3]


def test_pretty_shows_the_human_sentence_beside_another_voice(record: Record) -> None:
    record.start()
    narrate("queue", "admit", "job-7", "Admitted job-7", cute="Come in")
    (event,) = record.stop().events
    lines = [line.strip() for line in pretty.lines(event, {}, "cute")]
    assert lines[1:3] == ["Come in", "human: Admitted job-7"]


def test_json_has_the_human_sentence_in_every_voice(record: Record) -> None:
    record.start()
    narrate("a", "b", "c", "plain", cute="purr")
    told = json.loads(printed(record, "json", voice="cute"))
    assert (told["text"], told["human"]) == ("purr", "plain")


@pytest.mark.parametrize(
    ("fields", "pairs"),
    [
        ({"n": 1, "f": 2.5, "yes": True, "none": None}, "n=1 f=2.5 yes=true none=null"),
        ({"word": "plain", "two": "a b", "empty": ""}, 'word=plain two="a b" empty=""'),
        ({"quote": 'say "hi"', "eq": "a=b"}, r'quote="say \"hi\"" eq="a=b"'),
        ({"level": "mine", "text": "too"}, "fields.level=mine fields.text=too"),
        ({"a b": 1, "c=d": 2, "é": 3}, "a_b=1 c_d=2 _=3"),
        ({"many": [1, 2]}, "many=list[2]"),
    ],
)
def test_logfmt_pairs(record: Record, fields: dict[str, object], pairs: str) -> None:
    record.start()
    narrate("a", "b", extra=fields)
    (event,) = record.stop().events
    line = logfmt.line(jsonl.event_object(event, {}))
    assert line.endswith(f" {pairs}")


def test_logfmt_has_the_context_beside_the_fields_and_what_is_given_wins(record: Record) -> None:
    record.start()
    with gn.context(job_id="j-1", task_id="t-1"):
        narrate("a", "b", task_id="t-2")
    (line,) = printed(record, "logfmt").splitlines()
    assert [pair for pair in line.split() if "_id=" in pair] == ["job_id=j-1", "task_id=t-2"]


@pytest.mark.parametrize("form", ["text", "pretty", "json", "logfmt"])
def test_nothing_can_forge_a_line_or_colour_a_terminal(record: Record, form: str) -> None:
    record.start()
    narrate(HOSTILE, HOSTILE, HOSTILE, HOSTILE, cute=HOSTILE, extra={HOSTILE: HOSTILE})
    shown = printed(record, form)
    assert [c for c in shown if not c.isprintable() and c != "\n" and form != "json"] == []
    assert not any(line.startswith("FATAL forged") for line in shown.splitlines())
    assert "\x1b" not in shown


def test_emoji_stay_whole(record: Record) -> None:
    record.start()
    narrate("a", "b", "c", "Hello 👩‍🚀", cute="🐱‍👤 purr")
    assert "👩‍🚀" in printed(record, "logfmt")


@pytest.mark.parametrize("form", ["text", "pretty", "json", "logfmt"])
def test_the_command_shows_each_format(record: Record, form: str) -> None:
    record.start()
    trace_tiny("a", "tiny", "t", "hello")
    narrate("a", "told", "t", "hello")
    path = str(record.stop().trace.path)
    done = CliRunner().invoke(show, [path, "--format", form])
    assert done.exit_code == 0
    assert done.output.count("hello") == {"text": 2, "pretty": 2, "json": 3, "logfmt": 3}[form]


# ---- voices ----


@pytest.mark.parametrize(
    ("recorded", "asked", "environment", "said"),
    [
        (None, None, None, "plain"),
        ("cute", None, None, "purr"),
        ("cute", "human", None, "plain"),
        ("cute", None, "story", "Once"),
        (None, "story", None, "Once"),
    ],
)
def test_the_voice_is_the_readers_else_the_recordings(
    record: Record, monkeypatch: Any, recorded: str | None, asked: str | None,
    environment: str | None, said: str,
) -> None:  # fmt: skip
    monkeypatch.delenv("GPU_NARRATION_VOICE", raising=False)
    record.start(voice=recorded)
    narrate("a", "b", "c", "plain", cute="purr", story="Once")
    path = str(record.stop().trace.path)
    if environment is not None:
        monkeypatch.setenv("GPU_NARRATION_VOICE", environment)
    voice = [] if asked is None else ["--voice", asked]
    assert CliRunner().invoke(show, [path, *voice]).output == f'INFO a b c "{said}"\n'


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"voice": "gruff"}, "voice='gruff'"), ({"console": "yaml"}, "console='yaml'")],
)
def test_what_is_no_voice_and_no_format_is_refused(
    tmp_path: Path, options: Any, problem: str
) -> None:
    with pytest.raises(OptionError, match=problem):
        gn.start(tmp_path / "t", **options)
