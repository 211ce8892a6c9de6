"""narrate_fn: one sentence per call, whatever the function is and however it ends."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

import pytest

from gpu_narration import TemplateError, narrate_fn
from gpu_narration._errors import NarrationStyleWarning, OptionError
from gpu_narration.views import text
from tests.conftest import Record


class Worker:
    def __init__(self, number: str = "w-1") -> None:
        self.id = number
        self.jobs = ["j-0", {"name": "first"}]
        self.shape = (2, 3)

    @property
    def broken(self) -> str:
        raise OSError("the property's own")

    def __str__(self) -> str:
        raise AssertionError("the program's own code was run")

    __repr__ = __format__ = __str__  # type: ignore[assignment]


def said(record: Record, function: Any, *args: Any, **kwargs: Any) -> str:
    """The sentence that a call leaves."""
    record.start()
    function(*args, **kwargs)
    (event,) = record.stop().events
    assert event.names[3] is not None
    return event.names[3]


# ---- sentences ----


@pytest.mark.parametrize(
    ("human", "expected"),
    [
        ("Sent {job}", "Sent j-7"),
        ("Sent {job!r:>8}|", "Sent    'j-7'|"),
        ("Sent {{job}}", "Sent {job}"),
        ("{count:05.1f} of {pool}", "003.0 of default"),
        ("{count:s}", "3"),  # a format that does not fit
        ("To {result.id}", "To w-1"),
        ("To {result.jobs[0]} and {result.jobs[1][name]}", "To j-0 and first"),
        ("{result.shape}", "tuple[2]"),
        ("{result}", "<Worker>"),
        ("{result.broken}", "<result: OSError>"),
        ("{result.none}", "<result: AttributeError>"),
        ("{result.jobs[9]}", "<result: IndexError>"),
        ("{result[0]}", "<result: TypeError>"),
        ("{rest[0]} {more[k]}", "<rest: IndexError> v"),
    ],
)
def test_a_hole_shows_its_value(record: Record, human: str, expected: str) -> None:
    @narrate_fn(human=human)
    def send(job: str, count: int, *rest: int, pool: str = "default", **more: str) -> Worker:
        return Worker()

    assert said(record, send, "j-7", 3, k="v") == expected


def test_a_value_is_never_read_as_a_template(record: Record) -> None:
    @narrate_fn(human="Got {value} and {other}", target="{value}")
    def take(value: str, other: str) -> None: ...

    assert said(record, take, "{other} {0} %s", "{value.__class__}") == (
        "Got {other} {0} %s and {value.__class__}"
    )


def test_a_long_value_is_cut(record: Record) -> None:
    @narrate_fn(human="{value}")
    def take(value: str) -> None: ...

    assert said(record, take, "x" * 5000) == "x" * 200 + "…"


def test_time_is_in_the_sentence_and_in_a_field(record: Record) -> None:
    @narrate_fn(human="Took {elapsed_ms} ms")
    def work() -> None: ...

    record.start()
    work()
    (event,) = record.stop().events
    assert event.names[3] == f"Took {event.fields['duration_ms']:.3f} ms"


@pytest.mark.parametrize(
    ("password", "token", "expected"),
    [
        ("hunter2", 17, "••• 17"),
        ("hunter2", "Hello", "••• Hello"),
        ("hunter2", "hf_" + "aB3d" * 9, "••• •••"),
    ],
)
def test_secret_arguments_are_masked(
    record: Record, password: str, token: object, expected: str
) -> None:
    @narrate_fn(human="{password} {token}")
    def log_in(password: str, token: object) -> None: ...

    assert said(record, log_in, password, token) == expected


def test_a_secret_in_what_a_call_gave_is_redacted(record: Record) -> None:
    @narrate_fn(human="Connected to {result}")
    def connect() -> str:
        return "postgres://me:hunter2@db/x"

    assert "hunter2" not in said(record, connect)


# ---- what is checked when it is decorated ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"human": "{job_di}"}, "did you mean {job_id}?"),
        ({"human": "{nothing_like_it}"}, "use one of elapsed_ms, job_id, pool, result"),
        ({"human": "{}"}, "has no name"),
        ({"human": "{0}"}, "there is no '0'"),
        ({"human": "{error}"}, "there is no 'error'"),
        ({"human": "x", "error_human": "{result}"}, "there is no 'result'"),
        ({"human": "x", "cute": "{job_di}"}, "cute='{job_di}'"),
        ({"human": "x", "target": "{job_di}"}, "target='{job_di}'"),
        ({"human": "{job_id.__class__}"}, "__class__ is private"),
        ({"human": "{job_id.}"}, "does not parse"),
        ({"human": "{job_id[}"}, "is no template"),
        ({"human": "{job_id"}, "is no template"),
        ({"human": "{job_id:{pool}}"}, "no holes in it"),
        ({"human": "{job_id:>99999}"}, "no width above 1000"),
        ({"human": "{job_id!x}"}, "no conversion !x"),
    ],
)
def test_what_cannot_be_filled_is_refused(options: dict[str, str], message: str) -> None:
    def send(job_id: str, pool: str) -> None: ...

    with pytest.raises(TemplateError) as caught:
        narrate_fn(**options)(send)
    assert message in str(caught.value)


def test_a_parameter_that_is_called_as_our_own_word_is_refused_where_it_is_used() -> None:
    def send(result: str) -> None: ...

    with pytest.raises(TemplateError, match="rename the parameter"):
        narrate_fn(human="{result}")(send)
    narrate_fn(human="fine")(send)


@pytest.mark.parametrize("what", [Worker, functools.partial(print), 7])
def test_what_is_no_function_is_refused(what: Any) -> None:
    with pytest.raises(TypeError, match="narrate_fn decorates functions and methods"):
        narrate_fn(human="x")(what)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(OptionError, match="choose one of"):
        narrate_fn(human="x", level="loud")(lambda: None)


def test_what_the_editorial_rules_say_is_a_warning_at_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GPU_NARRATION_LINT", "1")

    def send(job: str) -> None: ...

    with pytest.warns(NarrationStyleWarning, match="human of .*send") as caught:
        narrate_fn(human="An error occurred")(send)
    (first, *_) = caught
    assert (first.filename, first.lineno) == (__file__, send.__code__.co_firstlineno)


# ---- kinds of functions ----


def test_methods_of_every_kind(record: Record) -> None:
    class Pool:
        name = "p"

        @narrate_fn(human="{self.name} {job}")
        def method(self, job: str) -> None: ...

        @narrate_fn(human="{cls.name} {job}")
        @classmethod
        def above(cls, job: str) -> None: ...

        @classmethod
        @narrate_fn(human="{cls.name} {job}")
        def below(cls, job: str) -> None: ...

        @narrate_fn(human="{job}")
        @staticmethod
        def static(job: str) -> None: ...

    record.start()
    for call in (Pool().method, Pool.above, Pool.below, Pool.static):
        call("j")
    humans = [event.names[3] for event in record.stop().events]
    assert humans == ["p j", "p j", "p j", "j"]


def test_the_function_stays_what_it_was() -> None:
    def plain(job: str, count: int = 2) -> str:
        """Says it."""
        return job * count

    told = narrate_fn(human="x")(plain)
    assert (told.__name__, told.__doc__, inspect.signature(told)) == (
        "plain", "Says it.", inspect.signature(plain),
    )  # fmt: skip
    assert told("ab", count=1) == "ab"


def kinds() -> dict[str, Any]:
    """One function of each kind, which gives 1 and 2 or raises in between."""

    @narrate_fn(human="Got {result}", error_human="Lost {fails}: {error}")
    def plain(fails: bool = False) -> int:
        if fails:
            raise KeyError("k-1")
        return 2

    @narrate_fn(human="Got {result}", error_human="Lost {fails}: {error}")
    async def coroutine(fails: bool = False) -> int:
        await asyncio.sleep(0)
        if fails:
            raise KeyError("k-1")
        return 2

    @narrate_fn(human="Got {result}", error_human="Lost {fails}: {error}")
    def generator(fails: bool = False) -> Any:
        yield 1
        if fails:
            raise KeyError("k-1")
        return 2

    @narrate_fn(human="Got {result}", error_human="Lost {fails}: {error}")
    async def async_generator(fails: bool = False) -> Any:
        yield 1
        if fails:
            raise KeyError("k-1")
        yield 2

    async def take_all(fails: bool = False) -> list[int]:
        return [item async for item in async_generator(fails)]

    return {
        "plain": plain,
        "coroutine": lambda *args: asyncio.run(coroutine(*args)),
        "generator": lambda *args: list(generator(*args)),
        "async generator": lambda *args: asyncio.run(take_all(*args)),
    }


@pytest.mark.parametrize(
    ("kind", "result", "human"),
    [
        ("plain", 2, "Got 2"),
        ("coroutine", 2, "Got 2"),
        ("generator", [1], "Got 2"),
        ("async generator", [1, 2], "Got None"),
    ],
)
def test_each_kind_tells_once_of_its_end(
    record: Record, kind: str, result: object, human: str
) -> None:
    record.start()
    assert kinds()[kind]() == result
    (event,) = record.stop().events
    assert (event.level.name, event.names[3]) == ("INFO", human)


@pytest.mark.parametrize("kind", ["plain", "coroutine", "generator", "async generator"])
def test_each_kind_tells_of_an_error_and_lets_it_through(record: Record, kind: str) -> None:
    record.start()
    with pytest.raises(KeyError) as caught:
        kinds()[kind](True)
    (event,) = record.stop().events
    assert caught.value.args == ("k-1",)
    assert (event.level.name, event.names[3]) == ("ERROR", "Lost True: k-1")
    assert event.fields["error_kind"] == "KeyError"


def test_a_generator_that_is_closed_says_so(record: Record) -> None:
    @narrate_fn(human="Gave {result}")
    def count() -> Any:
        yield from range(9)

    record.start()
    for item in count():
        if item == 1:
            break
    (event,) = record.stop().events
    assert (event.names[3], event.fields["outcome"]) == ("Gave ?", "closed")


def test_what_is_sent_and_thrown_reaches_an_async_generator(record: Record) -> None:
    @narrate_fn(human="Done")
    async def echo() -> Any:
        got: object = "ready"
        while got != "end":
            try:
                got = yield got
            except ValueError as error:
                got = str(error)

    async def talk() -> list[object]:
        voice = echo()
        heard = [await anext(voice), await voice.asend("a"), await voice.athrow(ValueError("b"))]
        with pytest.raises(StopAsyncIteration):
            await voice.asend("end")
        return heard

    record.start()
    assert asyncio.run(talk()) == ["ready", "a", "b"]
    assert [event.names[3] for event in record.stop().events] == ["Done"]


def test_an_async_generator_that_is_closed_runs_its_finally_first(record: Record) -> None:
    left: list[str] = []

    @narrate_fn(human="Done")
    async def numbers() -> Any:
        try:
            yield 1
        finally:
            left.append("finally")

    async def take_one() -> None:
        source = numbers()
        await anext(source)
        await source.aclose()

    record.start()
    asyncio.run(take_one())
    (event,) = record.stop().events
    assert (left, event.fields["outcome"]) == (["finally"], "closed")


def test_a_cancelled_coroutine_is_told_at_warn(record: Record) -> None:
    @narrate_fn(human="Done", error_human="Left {job} undone")
    async def wait(job: str) -> None:
        await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(wait("j-1"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    record.start()
    asyncio.run(cancel())
    (event,) = record.stop().events
    assert (event.level.name, event.names[3], event.fields["outcome"]) == (
        "WARN", "Left j-1 undone", "cancelled",
    )  # fmt: skip


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_passes_through_and_is_no_error(record: Record, error: BaseException) -> None:
    @narrate_fn(human="Done", action="work")
    def work() -> None:
        raise error

    record.start()
    with pytest.raises(type(error)) as caught:
        work()
    (event,) = record.stop().events
    assert caught.value is error
    assert event.level.name == "WARN"
    assert (
        event.names[3] == f"work was stopped: {error.code if error.args else 'KeyboardInterrupt'}"
    )


class RudeError(Exception):
    def __str__(self) -> str:
        raise AssertionError("the program's own code was run")


def test_an_error_without_a_sentence_is_told_plainly(record: Record) -> None:
    @narrate_fn(human="Done")
    def work(error: Exception) -> None:
        raise error

    record.start()
    for error in (ValueError("no pool"), ValueError(), RudeError(1, 2)):
        with pytest.raises(type(error)):
            work(error)
    assert [event.names[3] for event in record.stop().events] == [
        "work failed: no pool", "work failed: ValueError", "work failed: RudeError",
    ]  # fmt: skip


# ---- the event ----


def test_actor_action_target_level_voices_and_place(record: Record) -> None:
    @narrate_fn(
        actor="queue", action="admit", target="{job}", human="Admitted {job}", level="debug",
        cute="{job} may come in", story='"Come in," said the queue to {job}.',
    )  # fmt: skip
    def admit(job: str) -> None: ...

    record.start()
    admit("j-1")
    (event,) = record.stop().events
    event.fields.pop("duration_ms")
    assert text.line(event, {}) == 'DEBUG queue admit j-1 "Admitted j-1"'
    assert text.line(event, {}, "cute") == 'DEBUG queue admit j-1 "j-1 may come in"'
    assert text.line(event, {}, "story").endswith(r'"\"Come in,\" said the queue to j-1."')
    code = inspect.unwrap(admit).__code__
    assert event.source_location == f"{__file__}:{code.co_firstlineno}"
    assert event.site.module == __name__


def test_without_names_they_are_the_modules_and_the_functions(record: Record) -> None:
    @narrate_fn(human="x")
    def admit() -> None: ...

    record.start()
    admit()
    (event,) = record.stop().events
    assert event.names[:2] == (__name__.partition(".")[0], "admit")


def test_nothing_is_told_where_nothing_records() -> None:
    class Counted:
        asked = 0

        @property
        def name(self) -> str:
            self.asked += 1
            return "n"

    @narrate_fn(human="{thing.name}")
    def use(thing: Counted) -> None: ...

    thing = Counted()
    use(thing)
    assert thing.asked == 0


def test_it_stays_where_trace_calls_are_stripped(monkeypatch: Any, record: Record) -> None:
    monkeypatch.setenv("GPU_NARRATION_STRIP", "1")

    @narrate_fn(human="Did it")
    def work() -> None: ...

    record.start()
    work()
    assert len(record.stop().named("work")) == 1
