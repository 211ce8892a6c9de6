"""What the rules say when a function is decorated."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from gpu_narration import Level, NarrationStyleWarning, narrate_fn
from gpu_narration.editorial.decorated import warn_of
from tests.support.run import environment, run_python


def warned(function: object, **texts: str | None) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of(function, texts, level=Level.INFO, error_level=Level.ERROR)
    assert all(one.category is NarrationStyleWarning for one in caught)
    return [f"{one.lineno}: {one.message}" for one in caught]


def plain() -> None: ...


LINE = plain.__code__.co_firstlineno


def test_each_finding_is_a_warning_at_the_function() -> None:
    assert warned(plain, human="An error occurred", cute='"Hi!" said it', story=None) == [
        f'{LINE}: human of plain: GN204 "An error occurred" says nothing; name what failed and why',
        f'{LINE}: cute of plain: GN301 dialogue in cute: "Hi!"; story is the voice for it',
    ]


def test_texts_that_keep_the_rules_warn_of_nothing() -> None:
    assert warned(plain, human="Loaded {x} in {elapsed_ms} ms", error_human=None) == []


def test_the_text_of_an_error_may_be_as_long_as_one() -> None:
    assert warned(plain, human="x" * 101)[0].endswith("101 characters, 100 is the limit at INFO")
    assert warned(plain, error_human="x" * 150) == []


def test_a_comment_at_the_decorator_counts_as_for_the_linter() -> None:
    def same(function: object) -> object:
        return function

    @same  # noqa: GN204
    def suppressed() -> None: ...

    @same  # noqa: GN205
    def others() -> None: ...

    assert warned(suppressed, human="An error occurred") == []
    assert len(warned(others, human="An error occurred")) == 1


def test_a_function_without_a_source_is_warned_of_all_the_same() -> None:
    names: dict[str, object] = {}
    exec("def made(): ...", names)
    assert warned(names["made"], human="An error occurred")[0].startswith("1: human of made: GN204")


# ---- narrate_fn ----

DECORATED = """
import sys, warnings
warnings.simplefilter("always")
from gpu_narration import narrate_fn

@narrate_fn(human="The job was dispatched by the pool")
def dispatch(): ...

print("gpu_narration.editorial" in sys.modules)
"""


@pytest.mark.parametrize(
    ("env", "options"), [({"GPU_NARRATION_LINT": "1"}, []), ({}, ["-X", "dev"])]
)
def test_narrate_fn_warns_where_it_is_asked_to(
    env: dict[str, str], options: list[str], tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(DECORATED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *options, program], env={**environment(), **env}, cwd=tmp_path,
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    (line,) = [line for line in done.stderr.splitlines() if "NarrationStyleWarning" in line]
    assert line.startswith(
        f"{program}:6: NarrationStyleWarning: human of dispatch: GN201 passive voice"
    )


def test_narrate_fn_loads_no_rules_where_it_is_not(tmp_path: Path) -> None:
    done = run_python(DECORATED)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_level_as_a_name_or_number_is_that_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_NARRATION_LINT", "1")
    for level in ("warn", 4, Level.WARN):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            narrate_fn(human="x" * 120, level=level)(plain)
        with pytest.warns(NarrationStyleWarning, match="120 is the limit at WARN"):
            narrate_fn(human="x" * 121, level=level)(plain)
