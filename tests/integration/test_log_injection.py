"""No text of a program, no name of a file and no word typed can forge a line or steer a terminal.

Every verb is run on a recording that is hostile in all its places, under a hostile name.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import gpu_narration as gn
from gpu_narration._core import annotate, emit
from gpu_narration._errors import GpuNarrationError, say
from gpu_narration._escape import safe, safe_json
from gpu_narration._types import Kind, Level
from gpu_narration.cli.app import cli
from tests.conftest import QUIET

#: One of everything that could do harm, each between letters.
HOSTILE = (
    "a\nINFO forged line\rb\x1b[31mred\x1b]0;title\x07c\x9b31md\x00e\x7ff\x85g\u2028h\u2029i"
    "\u202ej\u2066k\u200bl\u200dm\ufe0fn\U000e0041o\xadp\ufeffq\u061cr\U000e0100s\uffffend"
)
#: What must come through as it is.
EMOJI = (
    "👩\u200d💻 ❤\ufe0f 🏳\ufe0f\u200d🌈 👍🏽 1\ufe0f\u20e3 🇪🇺 🐈\u200d⬛ 🙂\u200d↔\ufe0f "
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 👨\u200d👩\u200d👧 ⚖\ufe0e"
)
_HARMFUL = {"Cc", "Cs", "Zl", "Zp"}
_KEPT = {"\u200d", "\ufe0e", "\ufe0f"}


def harm_in(output: str) -> set[str]:
    """What of an output is no visible character, blank, line break or part of an emoji."""
    for emoji in EMOJI.split():
        output = output.replace(emoji, "")
    return {
        f"U+{ord(character):04X}"
        for character in output
        if character != "\n"
        and (
            unicodedata.category(character) in _HARMFUL
            or character in "\u200b\u200c\u200d\u200e\u200f\u2060\xad\ufeff\ufe0f\u061c\uffff"
            or unicodedata.bidirectional(character)
            in {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
            or 0xE0000 <= ord(character) <= 0xE0FFF
        )
    }


def _record(path: Path, hostile: str) -> None:
    """Puts the text into every place of a recording that takes one."""
    error = type("Hostile" + hostile.replace("\0", "").replace("\uffff", ""), (ValueError,), {})
    with gn.start(path, **QUIET), gn.correlation(hostile[:60]):
        gn.trace_tiny(hostile, hostile, hostile, hostile)
        gn.trace_tiny("actor", "action", "{}", "{} {}", hostile, hostile.encode("utf-8", "replace"))
        gn.trace_enter(hostile, hostile, hostile)
        gn.trace_exit(hostile, hostile, hostile)
        gn.trace_loop(hostile, hostile, 0, 1, hostile)
        gn.trace_state(hostile, hostile, hostile, hostile)
        gn.narrate(
            hostile, hostile, hostile, hostile, cute=hostile, story=hostile, level="error",
            **{hostile: hostile, "bytes": hostile.encode("utf-8", "replace")},
        )  # fmt: skip
        with gn.span(hostile, hostile, hostile, hostile):
            pass
        with pytest.raises(ValueError), gn.span("actor", "failing"):
            raise error(hostile)
        launch = emit(
            int(Kind.LAUNCH), int(Level.INFO), hostile, hostile, hostile, hostile, hostile,
            {"stream": hostile, "backend": hostile, hostile: hostile},
        )  # fmt: skip
        assert launch is not None
        annotate(launch, {"gpu_reason": hostile, hostile: hostile})
        emit(
            int(Kind.STATE), int(Level.INFO), "", "vram", hostile, hostile, hostile,
            {"device": hostile, "scope": hostile, "used_bytes": 5},
        )  # fmt: skip


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = HOSTILE.replace("\0", "").replace("/", "")[:60]
    path = tmp_path_factory.mktemp("traces") / f"{name}.gnt"
    _record(path, HOSTILE)
    return path


VERBS = [
    ["show"],
    ["show", "--voice", "cute"],
    ["show", "--voice", "story"],
    ["show", "--json"],
    ["spans"],
    ["spans", "--json"],
    ["vram"],
    ["vram", "--json"],
    ["vram", "--by-scope"],
    ["watch", "--once"],
    ["watch", "--json"],
]


def _known(verb: list[str]) -> bool:
    command = cli.get_command(None, verb[0])  # type: ignore[arg-type]
    assert command is not None
    return all(
        any(word in option.opts for option in command.params) for word in verb[1:] if word[0] == "-"
    )


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_verb_prints_what_could_harm(trace: Path, verb: list[str]) -> None:
    """GIVEN a trace hostile in all places THEN what a verb prints of it is harmless."""
    assert _known(verb), "the verb has these options"
    done = CliRunner().invoke(cli, [verb[0], str(trace), *verb[1:]])
    assert done.exit_code in {0, 1}, done.output
    assert harm_in(done.output) == set()


def test_a_line_of_show_is_an_event(trace: Path) -> None:
    """GIVEN texts with line breaks in them THEN none of their lines stands alone."""
    output = CliRunner().invoke(cli, ["show", str(trace)]).output
    assert "forged line" in output
    assert not any(line.startswith("INFO forged") for line in output.splitlines())


def test_json_keeps_what_was_recorded(trace: Path) -> None:
    """GIVEN hostile names THEN JSON has them as they were, though only as escapes."""
    output = CliRunner().invoke(cli, ["show", str(trace), "--json"]).output
    records = [json.loads(line) for line in output.splitlines()]
    assert any(record.get("actor") == HOSTILE for record in records)


@pytest.mark.parametrize("verb", ["show", "spans", "vram", "watch", "dump", "flush", "filter"])
def test_a_name_of_a_file_in_an_error_is_harmless(tmp_path: Path, verb: str) -> None:
    name = HOSTILE.replace("\0", "").replace("/", "")[:60]
    done = CliRunner().invoke(cli, [verb, str(tmp_path / name)])
    assert done.exit_code != 0
    assert harm_in(done.output) == set()


def _main(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    from gpu_narration.cli import app

    monkeypatch.setattr("sys.argv", ["gpu-narration", *arguments])
    try:
        return int(app.main() or 0)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    "arguments", [[HOSTILE], ["show", "--" + HOSTILE], ["spans", "x", "--sort", HOSTILE]]
)
def test_a_word_that_was_typed_is_harmless_in_the_error(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main([word.replace("\0", "") for word in arguments], monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.err != ""
    assert harm_in(captured.err + captured.out) == set()


def test_an_error_of_ours_is_harmless_in_a_traceback() -> None:
    assert harm_in(str(GpuNarrationError(HOSTILE, meaning=HOSTILE, next_step=HOSTILE))) == set()


def test_what_is_said_on_stderr_is_one_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert harm_in(line) == set()


@pytest.mark.parametrize("emoji", EMOJI.split())
def test_emoji_stay_whole(emoji: str) -> None:
    assert safe(f"a {emoji} b") == f"a {emoji} b"
    assert safe_json(f'"{emoji}"') == f'"{emoji}"'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\ufe0f", r"a\ufe0f"),
        ("❤\ufe0f\ufe0f", "❤\ufe0f" + r"\ufe0f"),
        ("\u200d💻", r"\u200d💻"),
        ("💻\u200d", r"💻\u200d"),
        ("💻\u200da", r"💻\u200da"),
        ("🏴\U000e0067\U000e007f", r"🏴\U000e0067\U000e007f"),
        ("x\U000e0067", r"x\U000e0067"),
    ],
)
def test_a_part_of_an_emoji_out_of_its_place_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert safe(text) == shown


_ANYTHING = st.text(st.characters(categories=None), max_size=40)


@given(_ANYTHING)
@example(HOSTILE)
def test_json_made_safe_means_the_same(text: str) -> None:
    made = safe_json(json.dumps({"a": [text, text]}, ensure_ascii=False, indent=1))
    assert json.loads(made) == {"a": [text, text]}
    assert harm_in(made.replace("\u200d", "").replace("\ufe0f", "").replace("\ufe0e", "")) <= {
        f"U+{ord(tag):04X}" for tag in EMOJI if ord(tag) >= 0xE0000
    }


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(
        st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Lu", "Zs", "Mn"]),
        min_size=1,
        max_size=20,
    )
)
def test_any_text_in_any_place_is_printed_harmlessly(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "t.gnt"
    _record(path, text)
    for verb in (["show"], ["show", "--json"], ["spans"]):
        done = CliRunner().invoke(cli, [verb[0], str(path), *verb[1:]])
        assert done.exit_code in {0, 1}, done.output
        ours = {f"U+{ord(c):04X}" for c in safe(text) if c in _KEPT}
        assert harm_in(done.output) <= ours
