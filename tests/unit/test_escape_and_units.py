"""Recorded text can do nothing to a terminal, and numbers read as the contract says."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpu_narration.views.escape import bare, quoted, safe
from gpu_narration.views.units import milliseconds, size

_ANYTHING = st.text(st.characters(categories=None), max_size=30)  # surrogates too


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines", r"two\nlines"),
        ("a\rb", r"a\rb"),
        ("a\tb", r"a\tb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("\x00", r"\x00"),
        ("\x7f", r"\x7f"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("a\u200bb", r"a\u200bb"),
        ("\ufeff", r"\ufeff"),
        ("\u2028", r"\u2028"),
        ("\x85", r"\x85"),
        ("\udc80", r"\udc80"),
        ("\U000e0041", r"\U000e0041"),
        ("a\u200db", r"a\u200db"),
        ("a\xadb", r"a\xadb"),
        ("a\u3164b", r"a\u3164b"),
        ("a\u034fb", r"a\u034fb"),
        ("a\U000e0100b", r"a\U000e0100b"),
    ],
)
def test_what_could_forge_or_hide_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert safe(text) == shown


@pytest.mark.parametrize(
    "text", ["", "plain", "Ünïcödé → 日本語", "שלום", "مرحبا", "👩\u200d💻", "❤️"]
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert safe(text) == text


@given(_ANYTHING)
def test_no_text_can_hold_a_control_or_format_character(text: str) -> None:
    """Cc, Cs, Zl and Zp never come through; of Cf only what shapes letters or emoji."""
    for character in safe(text):
        assert unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}
        assert unicodedata.bidirectional(character) not in {
            "LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI",
        }  # fmt: skip


@given(_ANYTHING)
def test_safe_text_is_one_line_that_can_be_encoded(text: str) -> None:
    assert len(safe(text).splitlines()) <= 1
    safe(text).encode("utf-8")


@given(_ANYTHING)
def test_escaping_twice_changes_nothing(text: str) -> None:
    assert safe(safe(text)) == safe(text)


@given(_ANYTHING)
@example('a" level="ERROR')
@example("\\")
def test_a_quoted_text_ends_only_at_its_own_quote(text: str) -> None:
    inner = quoted(text)[1:-1]
    position = 0
    while position < len(inner):
        assert inner[position] != '"'
        position += 2 if inner[position] == "\\" else 1
    assert position == len(inner), "the closing quote is not escaped away"


def test_quotes_and_backslashes_are_escaped() -> None:
    assert quoted('say "hi" \\ bye') == r'"say \"hi\" \\ bye"'


@pytest.mark.parametrize("text", ["token_5", "gpu0.used", "iter_0/8", "работник", "a:b"])
def test_a_plain_word_stays_bare(text: str) -> None:
    assert bare(text) == text


@pytest.mark.parametrize(
    "text", ["", "two words", "a=b", 'a"b', "a\\b", "a\nb", "\u202ex", "a\u2003b", "a'b"]
)
def test_what_is_no_plain_word_is_quoted(text: str) -> None:
    assert bare(text) == quoted(text)
    assert bare(text).startswith('"')


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0.000"),
        (1, "0.000"),
        (500, "0.001"),
        (42_000, "0.042"),
        (31_000, "0.031"),
        (9_999_499, "9.999"),
        (9_999_500, "10.0"),
        (15_200_000, "15.2"),
        (420_000_000, "420.0"),
        (-42_000, "-0.042"),
        (-15_200_000, "-15.2"),
    ],
)
def test_milliseconds_have_three_decimals_below_ten(ns: int, shown: str) -> None:
    assert milliseconds(ns) == shown


@given(st.integers(-(10**15), 10**15))
def test_milliseconds_are_never_off_by_more_than_their_last_digit(ns: int) -> None:
    shown = milliseconds(ns)
    half_ns = 500 if len(shown.rpartition(".")[2]) == 3 else 50_000
    assert abs(float(shown) * 1e6 - ns) <= half_ns * 1.01


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 30, "5.0 GiB"),
        (-(1 << 20), "-1.0 MiB"),
        (1 << 50, "1.0 PiB"),
        (5000 << 50, "5000.0 PiB"),
    ],
)
def test_sizes_have_a_binary_unit(count: int, shown: str) -> None:
    assert size(count) == shown


@given(st.integers(0, 1 << 60))
@example((1 << 20) - 1)
@example((1 << 40) - 1)
def test_a_size_below_the_largest_unit_is_below_1024_of_it(count: int) -> None:
    """GIVEN any count THEN 1024 of a unit is shown as one of the next."""
    number, unit = size(count).split()
    assert float(number) < 1024 or unit == "PiB"
