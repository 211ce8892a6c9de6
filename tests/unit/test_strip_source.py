"""The source form: formatting and comments of what stays are kept."""

from __future__ import annotations

import sys
import textwrap

import pytest

from gpu_narration import MissingExtraError
from gpu_narration.stripping import source as source_form
from gpu_narration.stripping.source import StripError, strip_source

HEAD = "from gpu_narration import span, trace_fn, trace_tiny as t\n"


def stripped(body: str, head: str = HEAD) -> str:
    text = strip_source((head + textwrap.dedent(body)).encode()).text.decode()
    assert text.startswith(head)
    return text[len(head) :]


def test_everything_else_is_kept_as_it_is() -> None:
    body = """\
        x = {  'odd' : 1,   # why
              "b":2 }

        def f( a,b ) :
            t("a", "b", "c", "d")
            return   a


        """
    wanted = textwrap.dedent(body).replace('    t("a", "b", "c", "d")\n', "")
    assert stripped(body) == wanted


def test_a_comment_above_stays_and_one_behind_goes() -> None:
    body = 'a = 1\n# above\nt("a")  # behind\nb = 2  # of b\n'
    assert stripped(body) == "a = 1\n# above\nb = 2  # of b\n"


def test_comments_above_the_last_call_of_a_body_stay() -> None:
    body = 'def f():\n    a = 1\n    # last\n    t("a")\n    # below\n\n# outside\nb = 2\n'
    assert stripped(body) == "def f():\n    a = 1\n    # last\n    # below\n\n# outside\nb = 2\n"


def test_comments_of_an_empty_body_stand_above_pass() -> None:
    assert stripped('if x:\n    # why\n    t("a")\n') == "if x:\n    # why\n    pass\n"


def test_empty_lines_on_both_sides_of_a_call_become_those_of_one() -> None:
    assert stripped('a = 1\n\nt("a")\n\nb = 2\n') == "a = 1\n\nb = 2\n"


def test_the_block_of_a_span_moves_out_and_a_text_in_it_stays() -> None:
    body = '''\
        def f():
            # of the span
            with span("a", "b"):  # goes
                # of the text
                x = """one
          two
            three"""
                if x:
                        return (1,
                                2)  # odd
                # at the end
        '''
    wanted = '''\
        def f():
            # of the span
            # of the text
            x = """one
          two
            three"""
            if x:
                    return (1,
                            2)  # odd
            # at the end
        '''
    assert stripped(body) == textwrap.dedent(wanted)


def test_items_of_a_with_in_parentheses() -> None:
    body = 'with (\n    a() as x,  # of a\n    span("a", "b"),\n    b(),\n):\n    work()\n'
    assert stripped(body) == "with (\n    a() as x,  # of a\n    b(),\n):\n    work()\n"


def test_the_last_item_of_a_with_in_parentheses() -> None:
    body = 'with (\n    a(),\n    span("a", "b"),\n):\n    work()\n'
    assert stripped(body) == "with (\n    a(),\n):\n    work()\n"


def test_comments_between_decorators_stay() -> None:
    body = "# one\n@trace_fn\n# two\n@other\n# three\n@trace_fn()\n# four\ndef f(): pass\n"
    assert stripped(body) == "# one\n# two\n@other\n# three\n# four\ndef f(): pass\n"


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ('a = 1; t("a"); b = 2', "a = 1; b = 2"),
        ('t("a"); b = 2', "b = 2"),
        ('a = 1; t("a")', "a = 1"),
        ('a = 1; t("a");', "a = 1"),
        ('if a: t("a")', "if a: pass"),
        ('if a: t("a"); b = 2', "if a: b = 2"),
        ('def f(): t("a"); "text"', 'def f(): pass; "text"'),
        ('with span("a", "b"): a = 1; t("a")  # c', "a = 1  # c"),
    ],
)
def test_several_statements_on_a_line(line: str, left: str) -> None:
    assert stripped(f"{line}\n") == f"{left}\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", [True, False])
def test_the_ends_of_lines_are_kept(newline: str, end: bool) -> None:
    lines = [HEAD.strip(), "a = 1", 't("a")', "if a:", '    t("a")', "    b = 2"]
    left = [HEAD.strip(), "a = 1", "if a:", "    b = 2"]
    last = newline if end else ""
    text = strip_source((newline.join(lines) + last).encode()).text
    assert text == (newline.join(left) + last).encode()


@pytest.mark.parametrize(
    ("encoding", "line"),
    [("latin-1", "# -*- coding: latin-1 -*-\n"), ("utf-8-sig", ""), ("utf-8", "")],
)
def test_the_encoding_is_kept(encoding: str, line: str) -> None:
    """GIVEN letters before a call on its line, of one byte or two THEN the right call goes."""
    body = 'é = "ü"; t("é"); ö = t("ü")\n'
    text = strip_source((line + HEAD + body).encode(encoding))
    assert text.text == (line + HEAD + 'é = "ü"; ö = t("ü")\n').encode(encoding)
    assert [use.column for use in text.kept] == [len('é = "ü"; t("é"); ö = '.encode()) + 1]


def test_tabs_and_form_feeds_are_kept() -> None:
    body = 'if x:\n\tt("a")\n\tif y:\n\t\tt("b")\n\t\tz = 1\n\x0c\nt("c")\nw = 2\n'
    assert stripped(body) == "if x:\n\tif y:\n\t\tz = 1\n\x0c\nw = 2\n"


def test_a_source_without_us_comes_back_as_it_is() -> None:
    odd = b"print 'Python 2'\n\xff"
    assert strip_source(odd).text == odd


def test_what_is_no_source_raises() -> None:
    with pytest.raises(SyntaxError):
        strip_source(b"import gpu_narration\nprint 'Python 2'\n")


def test_without_libcst_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libcst", None)
    with pytest.raises(MissingExtraError, match=r"gpu-narration\[strip\]"):
        strip_source((HEAD + 't("a")\n').encode())


def test_a_text_that_means_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """GIVEN a rewriter with a bug THEN nothing comes out of it."""
    monkeypatch.setattr(source_form, "_rewrite", lambda source, findings: source)
    with pytest.raises(StripError, match="strip-failed"):
        strip_source((HEAD + 't("a")\n').encode())


def test_form_feeds_in_front_of_a_call_do_not_hide_it() -> None:
    assert "t(" not in stripped("\x0ct('a')\nif 1:\n\x0c    t('a')\n    \x0cx = 1\n")
