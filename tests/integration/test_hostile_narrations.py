"""Code of the program's own that runs inside narrate(), and takes there what narrate() holds."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import pytest

import gpu_narration as gn
from gpu_narration import _core, narrate
from gpu_narration.redaction import set_redaction
from tests.conftest import Record, Recorded
from tests.support.run import run_python

#: Memory that is let go is overwritten at once.
DEBUG = {"PYTHONMALLOC": "debug"}


@pytest.fixture
def policy() -> Iterator[None]:
    """Afterwards the policy of the process is the one before."""
    yield
    set_redaction(gn.redaction.redaction())


# ---- what was given goes ----


def test_a_level_may_empty_the_dict_that_it_came_in() -> None:
    """GIVEN fields whose level is a str with code of its own WHEN that lets all of them go THEN
    the texts that were given are told."""
    done = run_python(
        """
        import gpu_narration as gn
        from gpu_narration.tracefile import Trace

        class Loud(str):
            def upper(self):
                fields.clear()
                return "WARN"

        gn.start("t.gnt", backend="none")
        for i in range(20):
            fields = {"actor": f"a{i}", "action": f"b{i}", "human": f"said {i}"}
            fields["level"] = Loud("loud")
            gn.narrate(fields)
        gn.stop()
        print(*(event.names[3] for event in Trace("t.gnt").events()), sep="|")
        """,
        env=DEBUG,
    )
    assert done.stdout == "|".join(f"said {i}" for i in range(20)) + "\n"


def test_the_name_of_a_field_may_set_another_policy() -> None:
    """GIVEN a policy for a field whose name is a str with code of its own WHEN that sets another
    policy THEN the field is hidden as it was asked."""
    done = run_python(
        """
        import gpu_narration as gn
        from gpu_narration.redaction import RedactionPolicy, set_redaction
        from gpu_narration.tracefile import Trace

        class Loud(str):
            __hash__ = str.__hash__
            def __eq__(self, other):
                set_redaction(RedactionPolicy())
                return str.__eq__(self, other)

        gn.start("t.gnt", backend="none")
        for i in range(50):
            set_redaction(RedactionPolicy(fields={Loud(f"field_{i}"): "hide"}))
            gn.narrate("a", "b", **{f"field_{i}": i})
        gn.stop()
        print({event.fields[f"field_{i}"] for i, event in enumerate(Trace("t.gnt").events())})
        """,
        env=DEBUG,
    )
    assert done.stdout == "{'[redacted field]'}\n"


# ---- a recording that ends, or another that begins ----


def test_a_narration_is_not_in_a_recording_that_began_within_it(
    record: Record, policy: None
) -> None:
    """GIVEN a pattern that starts another recording WHEN a text of a narration is looked at THEN
    the narration is in neither, and nothing undefined is written."""
    first: list[Recorded] = []

    def pattern(text: str) -> str:
        if text == "now":
            first.append(record.stop())
            record.start()
        return text

    record.start()
    _core.redact_configure(0x7F, None, pattern)
    assert narrate("a", "step", x="now") is None
    for recorded in (first[0], record.stop()):
        assert (recorded.events, recorded.trace.notices()) == ([], [])


@pytest.mark.parametrize("stops", ["redaction", "summary"])
def test_a_recording_may_end_while_ids_are_defined(stops: str) -> None:
    """GIVEN ids with fields, and code of the program's that stops the recording WHEN the first
    event of a context defines them THEN the event is lost, and the program goes on."""
    done = run_python(
        f"""
        import gpu_narration as gn
        from gpu_narration import _core
        from gpu_narration.contexts.ids import Ids

        class Thing: ...

        def pattern(text):
            if text == "last":
                gn.stop()
            return str(text)

        def rule(type_):
            if type_ is Thing:
                gn.stop()
            return None

        gn.start("t1.gnt", backend="none")
        _core.set_correlation(Ids("first", {{"session_id": "1"}}))
        gn.trace_tiny("a", "b", "", "")
        gn.stop()
        gn.start("t2.gnt", backend="none")
        if {stops!r} == "redaction":
            _core.redact_configure(0x7F, None, pattern)
        else:
            _core.set_hooks(summarise=rule)
        _core.set_correlation(Ids("last", {{"session_id": Thing()}}))
        gn.trace_tiny("a", "b", "", "")
        print("on", gn.stats())
        """
    )
    assert done.stdout == "on None\n"


# ---- code that goes ----


def test_a_place_that_is_taken_by_another_leaves_the_line_right(record: Record) -> None:
    """GIVEN more code than the table of places holds, and narrations that are made when a code
    goes WHEN one takes the place of another THEN each has its own line."""

    def narrating(file: str, actor: str, line: int) -> object:
        names = {"narrate": narrate, "__name__": "app"}
        source = "\n" * line + f"def call(): return narrate({actor!r}, 'b', line={line + 1})"
        exec(compile(source, file, "exec"), names)
        return names["call"]

    def gone(_: object) -> None:
        for line in range(3):
            narrating("gone.py", "gone", line)()  # type: ignore[operator]

    record.start()
    codes = []
    for i in range(3000):
        call = narrating(f"{i}.py", "own", i % 50)
        codes.append(weakref.ref(call.__code__, gone))  # type: ignore[attr-defined]
        call()  # type: ignore[operator]
        del call
    events = record.stop().events
    wrong = []
    for event in events:
        file, _, line = str(event.source_location).partition(".py:")
        if line != str(event.fields["line"]) or (file == "gone") != (event.names[0] == "gone"):
            wrong.append(event)
    assert len(events) > 6000
    assert wrong == []


# ---- no memory ----


def test_without_memory_a_narration_makes_do() -> None:
    """GIVEN that each allocation in turn fails WHEN a narration looks for the frame of a caller
    and has many fields THEN nothing is raised, and the last one is told."""
    pytest.importorskip("_testcapi", reason="this Python cannot make allocations fail")
    done = run_python(
        """
        import _testcapi
        import gpu_narration as gn
        from gpu_narration.tracefile import Trace

        many = {f"field_{i}": i for i in range(40)}

        def down(n):
            return down(n - 1) if n else gn.narrate("a", "b", human="said", stacklevel=4, extra=many)

        gn.start("t.gnt", backend="none")
        down(5)
        outcomes = set()
        for n in range(60):
            _testcapi.set_nomemory(n, n + 1)
            try:
                down(5)
            except BaseException as error:
                outcomes.add(type(error).__name__)
            finally:
                _testcapi.remove_mem_hooks()
        down(5)
        gn.stop()
        *_, last = Trace("t.gnt").events()
        print(outcomes, len(last.fields), [n.trouble.value for n in Trace("t.gnt").notices()])
        """
    )
    assert done.stdout == "set() 40 []\n"
