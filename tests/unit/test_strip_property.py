"""Random programs, with calls of ours and without: stripped they behave alike.

A program is made once as a tree of statements and written out twice.  It writes what it
does to a log, so that every step, value and exception counts.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass, field
from types import CodeType

from hypothesis import given, settings
from hypothesis import strategies as st

import gpu_narration
from gpu_narration.stripping.source import strip_source
from gpu_narration.stripping.transform import compile_stripped, strip_tree
from tests.support.code import differences, without_lines

HEAD = (
    "import gpu_narration as gn\nfrom gpu_narration import cuda, span, trace_fn, trace_tiny as t\n"
)

#: Arguments that would be seen if they were evaluated.
_CALLS = ('t("a", "b", "{}", "d", log("argument"))', 'gn.trace_loop("a", "b", log("i"), 2, "x")',
          'gn.trace_state("a", "b", f"{log(1)}", "d")', 'gn.trace_exit("a", "f", 1 / 0)')  # fmt: skip
_BLOCKS = ('with span("a", log("b")):', 'with gn.span("a", "b"), cuda.range(log("c")):')
_DECORATORS = ("@trace_fn", '@gn.trace_fn(actor=log("x"))')


@dataclass
class Program:
    """Lines of the program with calls, and of its twin; the twin has empty lines instead."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    functions: int = 0

    def add(self, depth: int, line: str, plain: str | None = None) -> None:
        indent = "    " * depth
        both = line if plain is None else plain
        self.lines.append((indent + line, indent + both if both else ""))

    def texts(self) -> tuple[str, str]:
        with_calls, without = zip(*self.lines, strict=True) if self.lines else ((), ())
        return HEAD + "\n".join(with_calls) + "\n", HEAD + "\n".join(without) + "\n"


@st.composite
def programs(draw: st.DrawFn) -> Program:
    program = Program()
    program.add(0, "log('start')")
    _body(draw, program, depth=0, room=4, inside="")
    program.add(0, "log('end')")
    return program


def _body(draw: st.DrawFn, program: Program, depth: int, room: int, inside: str) -> None:
    """Some statements; one of them at least is the program's own."""
    for _ in range(draw(st.integers(0, 3))):
        _statement(draw, program, depth, room, inside)
    program.add(depth, f"log({draw(st.integers(0, 9))})")
    if draw(st.booleans()):
        program.add(depth, draw(st.sampled_from(_CALLS)), "")


def _statement(  # noqa: PLR0912 - a branch a kind
    draw: st.DrawFn, program: Program, depth: int, room: int, inside: str
) -> None:
    kinds = ["call", "log", "block"]
    if room:
        kinds += ["if", "for", "try", "def", "class", "span"]
    if inside:
        kinds += ["leave"]
    match draw(st.sampled_from(kinds)):
        case "call":
            program.add(depth, draw(st.sampled_from(_CALLS)), "")
        case "log":
            program.add(depth, f"x = log({draw(st.integers(0, 9))})")
        case "block":  # on one line: its twin is the statement alone
            plain = f"log({draw(st.integers(0, 9))})"
            program.add(depth, f"{draw(st.sampled_from(_BLOCKS))} {plain}", plain)
        case "span":  # its twin is an `if` that is always taken, so that the depth is the same
            program.add(depth, draw(st.sampled_from(_BLOCKS)), "if 1:")
            _body(draw, program, depth + 1, room - 1, inside)
        case "if":
            program.add(depth, f"if log({draw(st.integers(0, 1))}):")
            _body(draw, program, depth + 1, room - 1, inside)
            program.add(depth, "else:")
            _body(draw, program, depth + 1, room - 1, inside)
        case "for":
            program.add(depth, "for i in range(2):")
            _body(draw, program, depth + 1, room - 1, inside or "loop")
        case "try":
            program.add(depth, "try:")
            _body(draw, program, depth + 1, room - 1, inside)
            if draw(st.booleans()):
                program.add(depth + 1, "raise ValueError(log('raised'))")
            program.add(depth, "except ValueError as error:")
            _body(draw, program, depth + 1, room - 1, inside)
            program.add(depth, "finally:")
            _body(draw, program, depth + 1, room - 1, inside)
        case "def":
            _function(draw, program, depth, room)
        case "class":
            program.add(depth, "class C:")
            _body(draw, program, depth + 1, room - 1, "")
        case "leave":
            program.add(depth, "if log(3) == 3:")
            program.add(depth + 1, "break" if inside == "loop" else "return log('left')")


def _function(draw: st.DrawFn, program: Program, depth: int, room: int) -> None:
    name = f"f{program.functions}"
    program.functions += 1
    if draw(st.booleans()):
        program.add(depth, draw(st.sampled_from(_DECORATORS)), "")
    yields = draw(st.booleans())
    program.add(depth, f"def {name}(a=1):")
    if draw(st.booleans()):
        program.add(depth + 1, '"""Says."""')
    _body(draw, program, depth + 1, room - 1, "function")
    if yields:
        program.add(depth + 1, "yield log('yielded')")
    call = f"list({name}())" if yields else f"{name}()"
    program.add(depth, f"log({call}, {name}.__doc__, {name}.__name__)")


def behaviour(code: CodeType) -> list[object]:
    """All that a program logs, and how it ends."""
    seen: list[object] = []

    def log(*values: object) -> object:
        seen.append(values)
        return values[0]

    try:
        exec(code, {"log": log, "__name__": "random_program"})
    except Exception as error:  # noqa: BLE001 - how it ends is what is compared
        lines = []
        traceback = error.__traceback__
        while traceback is not None:
            lines.append(traceback.tb_lineno)
            traceback = traceback.tb_next
        seen.append((repr(error), lines[1:]))
    return seen


def plain_code(text: str) -> CodeType:
    return compile(text, "program", "exec", dont_inherit=True)


@settings(max_examples=150, deadline=None)
@given(programs())
def test_a_stripped_program_behaves_as_without_the_calls(program: Program) -> None:
    """GIVEN a program and its twin without calls WHEN one is stripped THEN both log the same,
    no argument was evaluated, and errors come from the same lines."""
    with_calls, without = program.texts()
    stripped = compile_stripped(with_calls.encode(), "program")
    assert behaviour(stripped) == behaviour(plain_code(without))


@settings(max_examples=60, deadline=None)
@given(programs())
def test_both_forms_strip_to_the_same_bytes(program: Program) -> None:
    with_calls, _ = program.texts()
    tree = ast.parse(with_calls)
    strip_tree(tree)
    text = strip_source(with_calls.encode()).text
    assert differences(without_lines(text), without_lines(ast.unparse(tree))) == []


@settings(max_examples=60, deadline=None)
@given(programs())
def test_stripping_what_is_stripped_changes_nothing(program: Program) -> None:
    text = strip_source(program.texts()[0].encode()).text
    assert strip_source(text).text == text
    assert strip_source(text).taken == ()


def test_the_programs_do_evaluate_arguments_when_they_are_not_stripped() -> None:
    """GIVEN a program of this kind WHEN it runs as it is THEN its log shows the arguments:
    the tests above can fail."""
    program = Program()
    program.add(0, _CALLS[0], "")
    with_calls, without = program.texts()
    assert behaviour(plain_code(with_calls)) == [("argument",)]
    assert behaviour(plain_code(without)) == []
    assert gpu_narration.stats() is None
    assert textwrap.dedent(with_calls) == with_calls
