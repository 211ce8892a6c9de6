"""What is taken out of a module, and what stays: the tree that the import hook compiles.

In both forms: each example is also stripped as a source text, which must be the same tree.
"""

from __future__ import annotations

import ast
import textwrap

import pytest

from gpu_narration.stripping.source import look_at_source, strip_source
from gpu_narration.stripping.transform import strip_tree

HEAD = """
import gpu_narration as gn
import gpu_narration.cuda
from gpu_narration import cuda, span, trace_fn, trace_tiny, trace_tiny as t
from gpu_narration.cuda import range as gpu_range
"""


def stripped(body: str, head: str = HEAD) -> str:
    """The body as it is left, in the spelling of ast.unparse."""
    source = f"{head}\n{textwrap.dedent(body)}"
    tree = ast.parse(source)
    strip_tree(tree)
    text = strip_source(source.encode()).text
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(ast.unparse(tree)))
    return ast.unparse(ast.parse(ast.unparse(tree)[len(ast.unparse(ast.parse(head))) :]))


def plain(body: str) -> str:
    return ast.unparse(ast.parse(textwrap.dedent(body)))


def kept(body: str, head: str = HEAD) -> list[str]:
    """Why uses of our names stay."""
    source = f"{head}\n{textwrap.dedent(body)}"
    return [use.kept for use in look_at_source(source.encode()).kept]


@pytest.mark.parametrize(
    "call",
    [
        't("a", "b", "c", "d")',
        'trace_tiny("a", "b", "{}", "d", work())',
        'gn.trace_tiny("a", "b", "c", "d")',
        'gn.trace_loop("a", "b", 1, 2, f"{work()}")',
        'gpu_narration.trace_state("a", "b", "c", "d")',
        'gn.trace_enter("a", "b")',
        'gn.trace_exit("a", "b", *values, **more)',
        'gn.trace_with_correlation("a", "b", "c", "d", "id")',
        'gn.tracing.trace_tiny("a", "b", "c", "d")',
        '(t("a", "b", "c", "d"))',
        't("a", "b", "c", "d", [each for each in work()], lambda: (x := 1))',
    ],
)
def test_a_statement_of_a_call_goes_with_its_arguments(call: str) -> None:
    assert stripped(f"a = 1\n{call}\nb = 2") == plain("a = 1\nb = 2")


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ('with span("a", "b"):\n    work()', "work()"),
        ('with gn.span("a", "b", gpu=True):\n    work()\n    more()', "work()\nmore()"),
        ('with cuda.range("a"), gpu_range("b"):\n    work()', "work()"),
        ('with gpu_narration.cuda.range("a"):\n    work()', "work()"),
        ('with a(), span("a", "b"):\n    work()', "with a():\n    work()"),
        ('with span("a", "b"), a() as x:\n    work()', "with a() as x:\n    work()"),
        ('with span("a", "b"):\n    with span("c", "d"):\n        work()', "work()"),
        ('with span("a", "b"): work()', "work()"),
        ('def f():\n    with span("a", "b"):\n        return 1', "def f():\n    return 1"),
        ('for i in x:\n    with span("a", "b"):\n        break', "for i in x:\n    break"),
        ('if x:\n    with span("a", "b"):\n        t("a")', "if x:\n    pass"),
        (
            'async def f():\n    with span("a", "b"):\n        await x\n        yield 1',
            "async def f():\n    await x\n    yield 1",
        ),
    ],
)
def test_a_with_of_a_span_leaves_its_block(body: str, left: str) -> None:
    assert stripped(body) == plain(left)


@pytest.mark.parametrize(
    "decorator",
    ["@trace_fn", "@gn.trace_fn", '@gn.trace_fn(actor="x", gpu=True)', "@trace_fn()",
     '@cuda.range("x")', "@(trace_fn)"],
)  # fmt: skip
def test_a_decorator_goes_and_the_others_stay(decorator: str) -> None:
    body = f"class A:\n    @first\n    {decorator}\n    @last(1)\n    def f(self): pass"
    left = "class A:\n    @first\n    @last(1)\n    def f(self): pass"
    assert stripped(body) == plain(left)


def test_decorators_of_async_functions_go_too() -> None:
    assert stripped("@trace_fn\n@gn.trace_fn()\nasync def f(): pass") == plain(
        "async def f(): pass"
    )


@pytest.mark.parametrize(
    "body",
    [
        "if a:\n    {}\nelse:\n    {}",
        "for a in b:\n    {}\nelse:\n    {}",
        "while a:\n    {}",
        "try:\n    {}\nexcept E:\n    {}\nelse:\n    {}\nfinally:\n    {}",
        "def f():\n    {}",
        "async def f():\n    {}",
        "class A:\n    {}",
        "with a:\n    {}",
        "match a:\n    case 1:\n        {}",
    ],
)  # fmt: skip
def test_an_empty_body_gets_pass(body: str) -> None:
    call = 't("a", "b", "c", "d")'
    assert stripped(body.replace("{}", call)) == plain(body.replace("{}", "pass"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('x = t("a", "b", "c", "d")', "its value is used"),
        ('f(t("a", "b", "c", "d"))', "its value is used"),
        ('y and t("a", "b", "c", "d")', "its value is used"),
        ('t("a", "b", "c", "d") if y else None', "its value is used"),
        ('[t("a") for x in y]', "its value is used"),
        ('def f(): return t("a")', "its value is used"),
        ("f = trace_fn(f)", "its value is used"),
        ('s = span("a", "b")', "its value is used"),
        ('with span("a", "b") as s:\n    print(s)', "what it gives is used, as s"),
        ('with span("a", "b") as a.b:\n    pass', "what it gives is used, as a.b"),
        ('t("a", "b", "c", (x := 1))', "an argument binds x"),
        ('t("a", [x := y for y in z])', "an argument binds x"),
        ('async def f(): t("a", await x)', "an argument awaits or yields"),
        ('def f(): t("a", (yield))', "an argument awaits or yields"),
        ('def f(): t("a", (yield from x))', "an argument awaits or yields"),
        ('async def f(): t("a", [x async for x in y])', "an argument awaits or yields"),
        ('with span("a", (x := "b")):\n    pass', "an argument binds x"),
        ('@trace_fn(actor=(x := "b"))\ndef f(): pass', "an argument binds x"),
    ],
)
def test_what_the_program_needs_stays_and_is_told(body: str, reason: str) -> None:
    assert stripped(body) == plain(body)
    assert kept(body) == [reason]


@pytest.mark.parametrize(
    "body",
    [
        'def f(t): t("a")',
        'def f(*, t=1): t("a")',
        'def f(*t): t("a")',
        'def f(**t): t("a")',
        'def f():\n    t = 1\n    t("a")',
        'def f():\n    t("a")\n    for t in x: pass',
        'def f():\n    import other as t\n    t("a")',
        'def f():\n    from other import x as t\n    t("a")',
        'def f():\n    def t(): pass\n    t("a")',
        'def f():\n    class t: pass\n    t("a")',
        'def f():\n    with x as t: t("a")',
        'def f():\n    try: pass\n    except E as t: t("a")',
        'def f():\n    match x:\n        case t: t("a")',
        'def f():\n    match x:\n        case [*t]: t("a")',
        'def f():\n    match x:\n        case {**t}: t("a")',
        'def f():\n    [t := y for y in x]\n    t("a")',
        'def f(t):\n    def g(): t("a")',
        'def f(t):\n    class A:\n        t("a")',
        'class A:\n    t = 1\n    t("a")',
        'def f():\n    t: int\n    t("a")',
        'def f():\n    gn = 1\n    gn.trace_tiny("a")',
        'other.trace_tiny("a")',
        'trace_exit("a")',
        'narrate("a", "b")',
        'gn.narrate("a", "b", "c", "d")',
        "@gn.narrate_fn\ndef f(): pass",
        'with gn.correlation("x"):\n    pass',
        'async def f():\n    async with span("a", "b"):\n        pass',
        'gn.trace_tiny.x("a")',
        'gn.other.trace_tiny("a")',
    ],
)
def test_what_is_not_certainly_ours_stays(body: str) -> None:
    assert stripped(body) == plain(body)


@pytest.mark.parametrize(
    "body",
    [
        't = 1\nt("a")',
        'def t(): pass\nt("a")',
        'if x:\n    from other import t\nt("a")',
        'def f():\n    global t\n    t = 1\nt("a")',
        'for t in x: pass\nt("a")',
        'del t\nt("a")',
        'from other import *\nt("a")',
        'gn.trace_tiny = x\ngn.trace_tiny("a")',
        'cuda.range = x\n@cuda.range("a")\ndef f(): pass',
        'import other as gn\ngn.trace_tiny("a")',
    ],
)
def test_a_name_that_the_module_binds_again_stays(body: str) -> None:
    assert stripped(body) == plain(body)


def test_a_name_that_may_be_ours_is_told() -> None:
    body = 'if x:\n    from other import t\nt("a")'
    assert kept(body) == ["the module binds this name otherwise, too"]


@pytest.mark.parametrize(
    "body",
    [
        'class A:\n    t = 1\n    def f(self): t("a")',
        'def f():\n    [x for t in y]\n    t("a")',
        'def f():\n    g = lambda t: t\n    t("a")',
        'def f():\n    global t\n    t("a")',
        'def g(t): pass\ndef f(): t("a")',
        'def f():\n    from gpu_narration import trace_loop as own\n    own("a")\n    t("a")',
        'def f():\n    import gpu_narration\n    gpu_narration.trace_tiny("a")\n    t("a")',
    ],
)
def test_a_name_that_is_shadowed_elsewhere_goes_here(body: str) -> None:
    assert '("a")' not in stripped(body)


@pytest.mark.parametrize(
    ("head", "call"),
    [
        ("from gpu_narration import *", 'trace_tiny("a")'),
        ("import gpu_narration.cuda as c", '@c.range("a")\ndef f(): pass'),
        ("import gpu_narration.cuda", 'gpu_narration.trace_tiny("a")'),
        ("if x:\n    from gpu_narration import trace_tiny", 'trace_tiny("a")'),
        (
            (
                "try:\n    from gpu_narration import trace_tiny\n"
                "except ImportError:\n    def trace_tiny(*a): pass"
            ),
            'trace_tiny("a")',
        ),
        (
            (
                "try:\n    import gpu_narration as gn\n    HAS = True\n"
                "except (ImportError, ModuleNotFoundError):\n    gn = None\n    HAS = False"
            ),
            'gn.trace_tiny("a")',
        ),
        (
            "from gpu_narration import trace_tiny\nfrom gpu_narration import trace_tiny",
            'trace_tiny("a")',
        ),
    ],
)
def test_every_way_to_import_is_known(head: str, call: str) -> None:
    assert '"a"' not in stripped(call, head).replace("'", '"')


@pytest.mark.parametrize(
    "head",
    [
        "try:\n    from gpu_narration import trace_tiny\nexcept Exception:\n    trace_tiny = x",
        (
            "try:\n    from gpu_narration import trace_tiny\n    import other\n"
            "except ImportError:\n    trace_tiny = x"
        ),
        "from .gpu_narration import trace_tiny",
        "from other.gpu_narration import trace_tiny",
        "from gpu_narration_other import trace_tiny",
        "import other as gpu_narration; trace_tiny = gpu_narration.trace_tiny",
    ],
)
def test_what_only_looks_like_an_import_of_ours_is_none(head: str) -> None:
    assert "trace_tiny" in stripped('trace_tiny("a")', f"MENTION = 'gpu_narration'\n{head}\n")


def test_a_span_that_nothing_looks_at_goes_with_its_name() -> None:
    body = 'def f():\n    with span("a", "b") as s:\n        work()'
    assert stripped(body) == plain("def f():\n    work()")


@pytest.mark.parametrize(
    "use",
    ["print(s)", "del s", "lambda: s", "s += 1", "locals()", "def g():\n            nonlocal s",
     "eval('s')", "[s for x in y]"],
)  # fmt: skip
def test_a_span_that_something_may_look_at_stays(use: str) -> None:
    body = f'def f():\n    with span("a", "b") as s:\n        {use}'
    assert stripped(body) == plain(body)


def test_the_name_of_a_span_in_a_module_stays() -> None:
    body = 'with span("a", "b") as s:\n    work()'
    assert stripped(body) == plain(body)


@pytest.mark.parametrize("owner", ["def f():", "class A:", "async def f():"])
@pytest.mark.parametrize(
    "first", ['t("a")\n    ', 'with span("a", "b"):\n        t("a")\n        ']
)
def test_a_text_does_not_become_a_docstring(owner: str, first: str) -> None:
    """GIVEN a text behind a call WHEN the call goes THEN the text is still none."""
    left = stripped(f'{owner}\n    {first}"text"\n    x = 1')
    assert left == plain(f'{owner}\n    pass\n    "text"\n    x = 1')


def test_a_docstring_stays_one() -> None:
    body = 'def f():\n    """Says."""\n    t("a")'
    assert stripped(body) == plain('def f():\n    """Says."""')


def test_the_text_of_a_module_does_not_become_its_docstring() -> None:
    tree = ast.parse('from gpu_narration import trace_tiny as t; t("a")\n"text"')
    strip_tree(tree)
    assert ast.get_docstring(tree) is None


def test_imports_stay() -> None:
    """GIVEN names that nothing uses any more THEN they are still the module's."""
    source = 'from gpu_narration import trace_tiny\ntrace_tiny("a")\n'
    assert strip_source(source.encode()).text == b"from gpu_narration import trace_tiny\n"


def test_lines_and_columns_stay() -> None:
    """GIVEN an error behind calls THEN it is reported where it stands in the source."""
    source = HEAD + 't("a")\nwith span("a", "b"):\n    t("b")\n    x = 1 / 0\n'
    tree = ast.parse(source)
    strip_tree(tree)
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile(tree, "x", "exec"), {})
    assert caught.traceback[-1].lineno + 1 == source.split("\n").index("    x = 1 / 0") + 1


def test_an_expression_nested_deeper_than_python_calls() -> None:
    body = "x = " + " + ".join(["1"] * 1500) + '\nt("a")'
    tree = ast.parse(HEAD + body)
    assert strip_tree(tree).statements
    assert len(tree.body) == 5


def test_many_branches() -> None:
    """GIVEN a chain of elif, each inside the one before in the tree THEN all are stripped."""
    body = 'if x == 0:\n    t("a")\n' + "".join(
        f'elif x == {i}:\n    t("a")\n' for i in range(1, 300)
    )
    tree = ast.parse(HEAD + body)
    assert len(strip_tree(tree).statements) == 300
    assert "t(" not in ast.unparse(tree)
