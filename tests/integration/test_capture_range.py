"""``start(capture_range=…)``: an attached profiler collects while a range of that name is open."""

from __future__ import annotations

from pathlib import Path

from tests.support.cuda_programs import Traced, cuda_environment, run_traced
from tests.support.nvtx import tool_environment
from tests.support.run import run_python

START = 'narration.start("t.gnt", capture_range="prefill", vram=False)\n'
COUNTS = """
def profiled():
    return [cuda.fake_cuCalls(name, 0) for name in (b"cuProfilerStart", b"cuProfilerStop")]
"""


def observed(directory: Path, body: str, start: str = START) -> Traced:
    return run_traced(
        directory,
        body,
        start=COUNTS + start,
        env={**cuda_environment(), **tool_environment(directory)},
    )


def test_it_collects_from_the_ranges_begin_to_its_end(tmp_path: Path) -> None:
    done = observed(
        tmp_path,
        """
        begin()
        with span("app", "load"):
            print(profiled())
        with span("app", "prefill"):
            print(profiled())
            with span("app", "inner"):
                pass
            print(profiled())
        print(profiled())
        """,
    )
    assert done.stdout.splitlines() == ["[0, 0]", "[1, 0]", "[1, 0]", "[1, 1]"]


def test_ranges_of_that_name_inside_each_other_and_in_threads_count_as_one(tmp_path: Path) -> None:
    done = observed(
        tmp_path,
        """
        begin()
        def inner():
            with span("app", "prefill"):
                pass
        with span("app", "prefill"):
            inner()
            thread = threading.Thread(target=inner)
            thread.start()
            thread.join()
            print(profiled())
        print(profiled())
        """,
    )
    assert done.stdout.splitlines() == ["[1, 0]", "[1, 1]"]


def test_it_begins_again_with_the_next_one(tmp_path: Path) -> None:
    done = observed(
        tmp_path,
        """
        begin()
        for _ in range(3):
            with span("app", "prefill"):
                pass
        print(profiled())
        """,
    )
    assert done.stdout == "[3, 3]\n"


def test_a_range_that_ends_in_an_exception_ends_the_collection(tmp_path: Path) -> None:
    done = observed(
        tmp_path,
        """
        begin()
        try:
            with span("app", "prefill"):
                raise ValueError
        except ValueError:
            print(profiled())
        """,
    )
    assert done.stdout == "[1, 1]\n"


def test_ranges_of_coroutines_count_too(tmp_path: Path) -> None:
    done = observed(
        tmp_path,
        """
        import asyncio
        begin()
        async def request():
            with span("app", "prefill"):
                await asyncio.sleep(0.01)
        async def main():
            await asyncio.gather(*(request() for _ in range(5)))
        asyncio.run(main())
        print(profiled())
        """,
    )
    assert done.stdout == "[1, 1]\n"


def test_a_kernel_range_of_that_name_counts(tmp_path: Path) -> None:
    done = observed(
        tmp_path,
        """
        begin()
        with narration.cuda.range("prefill"):
            print(profiled())
        """.replace("narration.cuda.range", "__import__('gpu_narration.cuda').cuda.range"),
    )
    assert done.stdout == "[1, 0]\n"


def test_without_a_context_it_says_so_once_and_the_trace_tells(tmp_path: Path) -> None:
    done = observed(
        tmp_path,
        """
        assert cuda.cuInit(0) == 0
        for _ in range(2):
            with span("app", "prefill"):
                pass
        print(profiled())
        """,
    )
    assert done.stdout == "[2, 0]\n"
    assert done.stderr == (
        "gpu_narration: the profiler did not start with the range 'prefill': CUDA says 201; "
        "a context must be current when the range begins [no-capture]\n"
    )
    note = done.trace.processes[0].note("capture")
    assert note is not None
    assert (note["range"], note["start"], note["status"]) == ("prefill", False, 201)


def test_without_a_tool_the_driver_is_left_alone(tmp_path: Path) -> None:
    done = run_traced(
        tmp_path,
        """
        begin()
        with span("app", "prefill"):
            print(profiled())
        """,
        start=COUNTS + START,
    )
    assert done.stdout == "[0, 0]\n"


def test_without_a_driver_it_says_so_and_ranges_work(tmp_path: Path) -> None:
    done = run_python(
        """
        import gpu_narration as g
        g.start("t.gnt", capture_range="prefill", backend="none", vram=False)
        with g.span("app", "prefill"):
            print("fine")
        """,
        cwd=tmp_path,
        env=tool_environment(tmp_path),
    )
    assert done.stdout == "fine\n"
    assert done.stderr.startswith("gpu_narration: capture_range='prefill' limits nothing: ")
    assert done.stderr.endswith("[no-capture]\n")


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    done = run_python(
        """
        import gpu_narration as g
        for given in ("", 3):
            try:
                g.start("t.gnt", capture_range=given)
            except g.OptionError as error:
                print(error)
        """,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines() == [
        "capture_range='' is no name of a range; give the name of a span, as 'prefill' [bad-option]",
        "capture_range=3 is no name of a range; give the name of a span, as 'prefill' [bad-option]",
    ]
