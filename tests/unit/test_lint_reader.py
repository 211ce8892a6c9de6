"""How the linter reads sources: what a name means, what an expression says, which comment counts."""

from __future__ import annotations

import pytest

from gpu_narration.editorial.linter import lint_bytes, lint_source

VAGUE = '"An error occurred"'


def found(source: str) -> list[tuple[int, str]]:
    return [(finding.span.line, finding.code) for finding in lint_source(source, "a.py")]


def codes(source: str) -> list[str]:
    return [code for _, code in found(source)]


# ---- whose call it is ----


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from gpu_narration import narrate", "narrate"),
        ("from gpu_narration import narrate as n", "n"),
        ("from gpu_narration import *", "narrate"),
        ("from gpu_narration.narration import narrate", "narrate"),
        ("from gpu_narration import narration", "narration.narrate"),
        ("import gpu_narration", "gpu_narration.narrate"),
        ("import gpu_narration as gn", "gn.narrate"),
        ("import gpu_narration.narration", "gpu_narration.narration.narrate"),
        ("import gpu_narration.narration as nn", "nn.narrate"),
        ("import gpu_narration as gn\nsay = gn.narrate", "say"),
        ("from gpu_narration import narrate\na = b = narrate\nc = b", "c"),
        ("try:\n    from gpu_narration import narrate\nexcept ImportError:\n    narrate = print", "narrate"),
        ("if True:\n    from gpu_narration import narrate\nelse:\n    def narrate(*a): ...", "narrate"),
    ],
)  # fmt: skip
def test_a_call_is_ours_by_every_way_to_its_name(imports: str, call: str) -> None:
    assert codes(f"{imports}\n{call}('a', 'b', human={VAGUE})\n") == ["GN204"]


@pytest.mark.parametrize(
    "source",
    [
        "from other import narrate\nnarrate('a', 'b', human={})",
        "import gpu_narration\ndef f(narrate): narrate('a', 'b', human={})",
        "from gpu_narration import narrate\ndef f(narrate): narrate('a', 'b', human={})",
        "from gpu_narration import narrate\nlambda narrate: narrate('a', 'b', human={})",
        "from gpu_narration import narrate\n[narrate('a', 'b', human={}) for narrate in f()]",
        "from gpu_narration import narrate\nnarrate = print\nnarrate('a', 'b', human={})",
        "from gpu_narration import narrate\ndef f():\n    narrate = g()\n    narrate('a', 'b', human={})",
        "def f():\n    from gpu_narration import narrate\nnarrate('a', 'b', human={})",
        "class A:\n    from gpu_narration import narrate\n    def f(self): narrate('a', 'b', human={})",
        "from gpu_narration import start\nself.narrate('a', 'b', human={})",
        "from gpu_narration_other import narrate\nnarrate('a', 'b', human={})",
        "from gpu_narration import narrate\nfor narrate in f(): narrate('a', 'b', human={})",
        "# gpu_narration\nfrom .narration import narrate\nnarrate('a', 'b', human={})",
    ],
)
def test_what_only_has_the_name_is_not_ours(source: str) -> None:
    assert codes(source.format(VAGUE)) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    def g():\n        narrate('a', 'b', human={})",
        "class A:\n    def f(self): narrate('a', 'b', human={})",
        "class A:\n    narrate('a', 'b', human={})",
        "f(x=[narrate('a', 'b', human={}) for x in y])",
        "lambda: narrate('a', 'b', human={})",
        "def f(x=narrate('a', 'b', human={})): ...",
        "@g(narrate('a', 'b', human={}))\ndef f(narrate): ...",
        "async def f():\n    async with g() as h:\n        await k(narrate('a', 'b', human={}))",
        "match x:\n    case [1, *_]: narrate('a', 'b', human={})",
        "def f():\n    global narrate\n    narrate('a', 'b', human={})",
    ],
)
def test_a_call_is_found_wherever_it_stands(source: str) -> None:
    assert codes("from gpu_narration import narrate\n" + source.format(VAGUE)) == ["GN204"]


# ---- what it says ----


@pytest.mark.parametrize(
    "text",
    [
        "'An error ' 'occurred'",
        "'An error ' + 'occurred'",
        "f'An error occurred'",
        "f'An {WHAT} occurred'",
        "'An {} occurred'.format(WHAT_IT_IS) if x else 'An error occurred'",
        "'An %s occurred' % 'x' and 'An error occurred'",
        "MESSAGE",
        "ALIAS",
        "(y := 'An error occurred')",
        "'''An error\n occurred'''",
        "x or 'An error occurred'",
    ],
)
def test_a_text_is_read_as_far_as_it_is_written_out(text: str) -> None:
    source = (
        "from gpu_narration import narrate\nWHAT = 'error'\nMESSAGE = 'An ' + WHAT + ' occurred'\n"
        f"ALIAS = MESSAGE\ndef f(x): narrate('a', 'b', human={text})\n"
    )
    assert codes(source) == ["GN204"]


@pytest.mark.parametrize(
    "text",
    ["message", "f'{message}'", "message()", "CHANGED", "message + 1", "', '.join(message)", "b'An error occurred'",
     "None", "'{'.format(1)", "'%' % 1", "'{0.__class__}'.format(message)", "'%(a)s' % {**message}"],
)  # fmt: skip
def test_a_text_that_is_known_only_when_it_runs_is_let_be(text: str) -> None:
    source = (
        "from gpu_narration import narrate\nCHANGED = 'An error occurred'\nCHANGED += '!'\n"
        f"def f(message): narrate('a', 'b', human={text})\n"
    )
    assert codes(source) == []


@pytest.mark.parametrize(
    "text",
    ["f'{elapsed_ms}'", "f'{elapsed_ms:.1f}'", "'{}'.format(elapsed_ms)", "'{0}'.format(elapsed_ms)",
     "'{x}'.format(x=job.elapsed_ms)", "'%s' % elapsed_ms", "'%(x)d' % {'x': elapsed_ms}", "'' + 'in ' + elapsed_ms",
     "f'{str(elapsed_ms)}'", "f'{row[\"elapsed_ms\"]}'", "f'{await_(1)} in {elapsed_ms!r}'"],
)  # fmt: skip
def test_the_name_of_a_value_is_known_in_every_kind_of_format(text: str) -> None:
    source = f"from gpu_narration import narrate\nnarrate('a', 'b', human={text})"
    assert codes(source) == ["GN205"]


def test_the_text_of_a_light_call_is_a_template_only_with_values() -> None:
    head = "from gpu_narration import trace_tiny\n"
    assert codes(head + "trace_tiny('a', 'b', '', 'took {elapsed_ms}', 1)") == ["GN205"]
    assert codes(head + "trace_tiny('a', 'b', '', 'In {password}')") == []
    assert codes(head + "trace_tiny('a', 'b', '', 'In {}', password)") == ["GN401"]


@pytest.mark.parametrize(
    ("call", "limit"),
    [
        ("narrate('a', 'b', human={})", 100),
        ("narrate('a', 'b', human={}, level='warn')", 120),
        ("narrate('a', 'b', human={}, level=Level.WARN)", 120),
        ("narrate('a', 'b', human={}, level=4)", 120),
        ("narrate('a', 'b', human={}, level=level)", 150),
        ("narrate('a', 'b', human={}, **options)", 150),
        ("narrate_warn('a', 'b', human={})", 120),
        ("narrate_error('a', 'b', 'c', {})", 150),
        ("narrate_fatal('a', 'b', 'c', {})", 150),
        ("narrate_debug('a', 'b', 'c', {})", 100),
        ("narrate(NarrationFields(actor='a', action='b', human={}))", 100),
        ("narrate_warn(NarrationFields(actor='a', action='b', human={}))", 120),
        ("NarrationFields(actor='a', action='b', human={})", 150),
        ("narrate({{'actor': 'a', 'action': 'b', 'human': {}}})", 100),
        ("Narration('a', 'b').human({}).emit()", 100),
        ("Narration('a', 'b').human({}).level('warn').emit()", 120),
        ("Narration('a', 'b').level(Level.ERROR).human({}).cute('Hm').emit()", 150),
        ("Narration('a', 'b').fields(human={}).emit()", 100),
        ("Narration('a', 'b').human({})", 150),
        ("narrate_fn(human={})", 100),
        ("narrate_fn(human='x', error_human={})", 150),
        ("narrate_fn(human='x', error_human={}, error_level='warn')", 120),
        ("trace_state('a', 'b', 'c', {}, 1)", 100),
        ("span('a', 'b', 'c', {})", 100),
    ],
)
def test_the_level_of_a_text_is_that_of_its_call(call: str, limit: int) -> None:
    head = "from gpu_narration import *\n"
    assert codes(head + call.format(repr("x" * limit))) == []
    assert codes(head + call.format(repr("x" * (limit + 1)))) == ["GN101"]


def test_a_builder_in_a_variable_is_followed() -> None:
    source = (
        "from gpu_narration import Narration\nn = Narration('a', 'b')\nn = n.human('An error occurred')\n"
        "with x:\n    n.cute('Hm').emit()\n"
    )
    assert found(source) == [(3, "GN204")]


# ---- comments ----


@pytest.mark.parametrize(
    "comment",
    ["# noqa", "#noqa", "# NOQA", "# noqa: GN204", "# noqa:GN204", "# noqa: E501,GN204", "# noqa: E501 GN204",
     "# type: ignore # noqa: GN204", "# noqa: gn204 - on purpose"],
)  # fmt: skip
def test_a_comment_suppresses(comment: str) -> None:
    source = f"from gpu_narration import narrate\nnarrate('a', 'b', human={VAGUE})  {comment}\n"
    assert codes(source) == []


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: GN205",
        "# noqa: E501",
        "# noqa:",
        "# nothing",
        "# ruff: noqa",
        "# noqahere",
        "# no noqua",
    ],
)
def test_a_comment_for_others_does_not(comment: str) -> None:
    source = f"from gpu_narration import narrate\nnarrate('a', 'b', human={VAGUE})  {comment}\n"
    assert codes(source) == ["GN204"]


@pytest.mark.parametrize("line", [2, 5, 6])
def test_a_comment_counts_on_the_lines_of_the_text_and_at_both_ends_of_the_call(line: int) -> None:
    lines = ["from gpu_narration import narrate", "narrate(", "'a',", "'b', human=", VAGUE, ")"]
    lines[line - 1] += "  # noqa: GN204"
    assert codes("\n".join(lines)) == []


def test_noqa_in_a_text_suppresses_nothing() -> None:
    source = (
        "from gpu_narration import narrate\nnarrate('a', '# noqa', human='An error occurred')\n"
    )
    assert codes(source) == ["GN204"]


# ---- what cannot be read ----


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"def f(:", "GN001"),
        (b"x = (", "GN001"),
        (b"  x = 1\n y", "GN001"),
        (b"x = 1\0", "GN001"),
        (b"x = '\xff'", "GN002"),
        (b"# coding: latin-1\nx = '\xff' +", "GN001"),
        (b"# coding: no-such\n", "GN002"),
        (b"(" * 5000 + b")" * 5000, "GN001"),
        (b"\xef\xbb\xbfx = (", "GN001"),
    ],
)
def test_a_source_that_cannot_be_read_is_a_finding(data: bytes, code: str) -> None:
    assert [finding.code for finding in lint_bytes(data, "a.py")] == [code]


@pytest.mark.parametrize(
    "data",
    [b"", b"\xef\xbb\xbfx = 1", b"# coding: latin-1\nx = '\xff'", b"x = 1\r\ny = 2\r", b"\x0c"],
)
def test_odd_but_good_sources_are_read(data: bytes) -> None:
    assert lint_bytes(data, "a.py") == []


@pytest.mark.parametrize(
    "text",
    [
        "+".join(["'a'"] * 20000),
        "f(" * 80 + "1" + ")" * 80,
        " or ".join(["'a'"] * 9000),
        "x" + ".y" * 900,
    ],
)
def test_an_expression_of_any_size_is_read(text: str) -> None:
    """GIVEN deep or long expressions THEN no exception, and at most a finding that says so."""
    assert set(codes(f"from gpu_narration import narrate\nnarrate('a', 'b', human={text})")) <= {
        "GN001",
        "GN101",
    }


def test_columns_count_characters_and_lines_those_of_the_parser() -> None:
    source = "from gpu_narration import narrate\r\n'\x0c\u2028'; narrate('äöü', 'b', human='An error occurred')"
    (finding,) = lint_source(source, "a.py")
    assert finding.span == (2, 33, 2, 52)
