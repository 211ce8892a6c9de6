"""``cuda.range()``: a name for a stretch of GPU work, as a block and as a decorator."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import cuda
from gpu_narration._types import Kind, Outcome
from gpu_narration.cuda import MockGpu, ranges
from tests.support.recording import ManualClock, Seen, recorded, recorded_on_mock, simulated_gpu


def _ends(seen: Seen) -> list[str]:
    return [line for line in seen.lines(Kind.SPAN) if "elapsed_ms=" in line]


def _without_time(line: str) -> str:
    """A line less its CPU time, which differs from run to run."""
    return " ".join(word for word in line.split() if not word.startswith("elapsed_ms="))


def test_a_range_is_a_span_of_its_name_with_its_time_on_the_stream(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        stream = gpu.stream()
        with cuda.range("prefill", stream=stream):
            gpu.launch("k", 2_000_000, stream)
        clock.step(2_000_000)

    (line,) = _ends(recorded_on_mock(tmp_path, program))

    assert _without_time(line) == (
        'TRACE cuda prefill gpu_ms=2.000 stream=7 device=0 simulated=true "prefill completed"'
    )


def test_the_span_of_a_range_knows_its_id(tmp_path: Path) -> None:
    def program() -> None:
        with cuda.range("prefill") as opened:
            ids.append(opened.id)

    ids: list[int | None] = []
    (event,) = recorded(tmp_path, program).begins()

    assert ids == [event.id]


def test_a_range_belongs_to_the_module_it_is_used_in(tmp_path: Path) -> None:
    """GIVEN a filter on modules WHEN ranges of two of them come THEN the filter tells them apart."""
    namespace: dict[str, Any] = {"__name__": "myapp.worker", "cuda": cuda}

    def program() -> None:
        exec("with cuda.range('theirs'): pass", namespace)
        with cuda.range("ours"):
            pass

    seen = recorded(tmp_path, program, filter="myapp.worker=off")

    assert [event.names[1] for event in seen.begins()] == ["ours"]


def test_one_range_may_be_used_again_and_inside_itself(tmp_path: Path) -> None:
    def program() -> None:
        again = cuda.range("again")
        for _ in range(2):
            with again, again:
                pass

    seen = recorded(tmp_path, program)

    assert (len(seen.begins()), len(seen.ends())) == (4, 4)


def test_an_exception_ends_a_range_and_comes_through(tmp_path: Path) -> None:
    def program() -> None:
        with pytest.raises(KeyError), cuda.range("prefill"):
            raise KeyError

    (end,) = recorded(tmp_path, program).ends()

    assert (end.outcome, end.error_type) == (Outcome.ERROR, "KeyError")


@pytest.mark.parametrize(
    ("run", "form"),
    [
        (lambda work: work(2), "function"),
        (lambda work: asyncio.run(work(2)), "coroutine"),
        (lambda work: list(work(2))[-1], "generator"),
    ],
)
def test_as_a_decorator_each_call_is_a_range(tmp_path: Path, run: Any, form: str) -> None:
    @cuda.range("step", actor="engine")
    def function(n: int) -> int:
        simulated_gpu().launch("k", 1_000_000)
        return n

    @cuda.range("step", actor="engine")
    async def coroutine(n: int) -> int:
        await asyncio.sleep(0)
        simulated_gpu().launch("k", 1_000_000)
        return n

    @cuda.range("step", actor="engine")
    def generator(n: int) -> Any:
        yield 0
        simulated_gpu().launch("k", 1_000_000)
        yield n

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        work = {"function": function, "coroutine": coroutine, "generator": generator}[form]
        assert work.__name__ == form
        assert [run(work), run(work)] == [2, 2]
        clock.step(2_000_000)

    lines = _ends(recorded_on_mock(tmp_path, program))

    assert [line.split()[:3] for line in lines] == [["TRACE", "engine", "step"]] * 2
    assert all("gpu_ms=1.000" in line for line in lines)


def test_a_decorated_coroutine_function_is_one_still() -> None:
    @cuda.range("step")
    async def work() -> None: ...

    assert asyncio.iscoroutinefunction(work)


def test_what_a_range_cannot_decorate_it_refuses() -> None:
    async def stream() -> Any:
        yield 1

    for wrong in (stream, 7, Path):
        with pytest.raises(TypeError, match=r"write 'with cuda\.range"):
            cuda.range("step")(wrong)  # type: ignore[type-var]


def test_a_static_method_may_be_decorated_on_either_side(tmp_path: Path) -> None:
    class Engine:
        @cuda.range("outside")
        @staticmethod
        def prefill(n: int) -> int:
            return n

        @staticmethod
        @cuda.range("inside")
        def decode(n: int) -> int:
            return n

    def program() -> None:
        assert (Engine().prefill(1), Engine.prefill(2), Engine().decode(3)) == (1, 2, 3)

    names = [event.names[1] for event in recorded(tmp_path, program).begins()]

    assert names == ["outside", "outside", "inside"]


@pytest.mark.parametrize(("name", "actor"), [(7, "cuda"), (None, "cuda"), ("step", b"cuda")])
def test_names_that_are_no_text_are_refused(name: Any, actor: Any) -> None:
    with pytest.raises(TypeError, match=r"needs a str as its name and its actor, not \w+"):
        cuda.range(name, actor=actor)


def test_only_so_many_names_are_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_names", set())
    for index in range(ranges._NAMES_MAX + 50):
        cuda.range(f"layer {index}")

    assert len(ranges._names) == ranges._NAMES_MAX
