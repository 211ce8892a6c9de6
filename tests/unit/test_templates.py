"""Templates: filled once, with plain values, and never raising."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_narration.tracefile.format import (
    ABSENT,
    MASKED,
    CutBytes,
    CutText,
    Pointer,
    Summary,
    Value,
)
from gpu_narration.views.templates import MASK, fill, plain_text

_MISFIT = "[the template does not fit its values:"


@pytest.mark.parametrize("text", ["", "plain", "{}", "{0} {1}", "}{", "100%", "{x!r:>5}"])
def test_without_values_a_template_is_literal(text: str) -> None:
    assert fill(text, []) == text


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("Decoding token {} of {}", [5, 100], "Decoding token 5 of 100"),
        ("{1} before {0}", ["a", "b"], "b before a"),
        ("{0} and {0}", ["twice"], "twice and twice"),
        ("{:.1f} ms", [15.25], "15.2 ms"),
        ("{:>5}|", [42], "   42|"),
        ("{:x}", [255], "ff"),
        ("{!r}", ["q"], "'q'"),
        ("{{}} {}", [1], "{} 1"),
        ("{}", [None], "None"),
        ("{}", [True], "True"),
        ("{}", [b"ab"], "b'ab'"),
        ("no field", [7], "no field"),
        ("only {}", [1, 2], "only 1"),
    ],
)
def test_values_are_put_in_where_the_fields_are(
    template: str, values: list[Value], text: str
) -> None:
    assert fill(template, values) == text


@pytest.mark.parametrize("value", ["{}", "{0}", "{0.__class__}", "}", "{"])
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    assert fill("<{}> {}", [value, 1]) == f"<{value}> 1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Pointer(0xDEAD), "0xdead"),
        (Summary("ndarray float32 (3, 4)"), "ndarray float32 (3, 4)"),
        (CutText("begin", 9000), "begin… (9000 characters)"),
        (CutBytes(b"be", 9000), "b'be'… (9000 bytes)"),
        (MASKED, MASK),
        (ABSENT, "?"),
    ],
)
def test_values_that_are_no_python_values_have_a_text(value: Value, text: str) -> None:
    assert plain_text(value) == text
    assert fill("{}", [value]) == text


@pytest.mark.parametrize(
    "template",
    [
        "{} {} {}",  # too few values
        "{5}",
        "{-1}",
        "{name}",
        "{0.real}",  # attributes
        "{0.__class__.__mro__}",
        "{0[0]}",  # items
        "{",
        "}",
        "{:d}",  # of a str
        "{:q}",
        "{!z}",
        "{:{}}",  # a format within a format
        "{:{1}}",
        "{:9999999999}",  # a field as wide as the memory
        "{:.9999999999f}",
        "{0!}",
        "{0:>5",
    ],
)
def test_a_template_that_does_not_fit_is_shown_with_its_values(template: str) -> None:
    """GIVEN a wrong template THEN nothing raises and nothing is hidden."""
    assert fill(template, ["first", "second"]) == f"{template} {_MISFIT} first, second]"


@pytest.mark.parametrize("template", ["{:d}", "{:.2f}", "{:,}"])
def test_a_format_that_the_value_lacks_does_not_fit(template: str) -> None:
    assert _MISFIT in fill(template, [None])
    assert _MISFIT in fill(template, [MASKED])


@given(
    st.text(alphabet="{}!:.[]0123456789ab-><^%cdrsxn_,", max_size=20),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.none()), max_size=4),
)
def test_no_template_raises(template: str, values: list[Value]) -> None:
    assert isinstance(fill(template, values), str)


@given(
    st.text(alphabet="{}!:.0123456789><^dfsx", max_size=20),
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=3),
)
def test_what_fits_is_what_str_format_makes(template: str, values: list[int]) -> None:
    """GIVEN a template that is filled THEN str.format would have said the same."""
    filled = fill(template, values)
    if _MISFIT not in filled:
        assert filled == template.format(*values)


@given(st.integers(-(10**300), 10**300), st.floats())
def test_no_filled_field_is_wider_than_it_may_be(number: int, real: float) -> None:
    assert len(fill("{:1000}{:1000}", [number, real])) <= 2000
