"""Whole programs on the fake driver: what is recorded, and that nothing hangs or crashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.cuda_programs import Traced, cuda_environment, run_traced
from tests.support.nvml import GIB, device, nvml_environment
from tests.support.programs import command, write_program

#: What TIMED programs launch, in ns.
WORK_NS = 2_000_000


def _reason(traced: Traced, step: int = 0) -> str:
    """Why a span has no GPU time; it must have none."""
    learned = traced.steps()[step]
    assert learned["gpu_ns"] is None
    return str(learned["gpu_reason"])


def test_auto_takes_the_driver_where_there_is_one(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        begin()
        step(new_stream())
        """,
    )

    assert traced.backend() == {"name": "driver", "simulated": False}


def test_work_on_a_raw_stream_is_timed(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        begin()
        step(new_stream())
        time.sleep(0.05)
        """,
    )

    # The stream was idle: between the two records lies the work, and no more than a little.
    gpu_ns = traced.steps()[0]["gpu_ns"]
    assert isinstance(gpu_ns, int)
    assert gpu_ns >= WORK_NS


def test_nothing_synchronises_on_any_thread(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        begin()
        stream = new_stream()
        for _ in range(50):
            step(stream, length_ns=10_000)
        time.sleep(0.05)
        narration.stop()
        print(synchronised(), cuda.fake_cuStale())
        """,
    )

    assert traced.stdout.split() == ["0", "0"]


def test_a_program_without_a_context_has_none_made_for_it(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        with span("app", "step", gpu=True):
            pass
        narration.stop()
        print(cuda.fake_cuCalls(b"cuInit", 0), cuda.fake_cuCalls(b"cuDevicePrimaryCtxRetain", 0))
        """,
    )

    assert _reason(traced) == "no GPU: the program has no CUDA context"
    assert traced.stdout.split() == ["0", "0"]


def test_a_program_that_begins_to_use_cuda_later_is_timed_from_then_on(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        with span("app", "load", gpu=True):
            begin()
        step(new_stream())
        time.sleep(0.05)
        """,
    )

    assert [type(step["gpu_ns"]) for step in traced.steps()] == [type(None), int]


def test_memory_of_a_program_without_a_context_is_read_by_nvml(tmp_path: Path) -> None:
    """A driver tells it only within a context, and none is made to ask."""
    (tmp_path / "machine.txt").write_text(device(GIB) + "\n")
    nvml, cuda = nvml_environment(tmp_path), cuda_environment()
    paths = f"{cuda['LD_LIBRARY_PATH']}:{nvml['LD_LIBRARY_PATH']}"
    traced = run_traced(
        tmp_path,
        """
        import pathlib
        with span("app", "load", gpu=True, vram=True):
            while not (log := pathlib.Path("nvml.log")).exists() or "end" not in log.read_text():
                time.sleep(0.01)
        """,
        env={**nvml, "LD_LIBRARY_PATH": paths},
        start='narration.start("t.gnt", nvtx="off")',
    )

    learned = traced.steps()[0]
    assert (learned["vram_before_bytes"], learned["vram_source"]) == (GIB, "sampled")


# ---- no driver, or not one to use ----


def test_without_a_driver_the_reason_is_recorded(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        with span("app", "step", gpu=True):
            pass
        """,
        with_driver=False,
    )

    assert _reason(traced).startswith("no GPU: there is no NVIDIA driver: libcuda.so.1")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"FAKE_CUDA_VERSION": "10020"}, r"the driver is too old: it supports CUDA 10\.2"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES is ''"),
    ],
    ids=["too old", "no visible device"],
)
def test_a_driver_that_cannot_be_used_is_told_of(
    tmp_path: Path, settings: dict[str, str], reason: str
) -> None:
    traced = run_traced(
        tmp_path,
        """
        with span("app", "step", gpu=True):
            pass
        """,
        env=settings,
    )

    assert re.match(f"no GPU: {reason}", _reason(traced))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"FAKE_CUDA_VERSION": "10020"}, "the driver is too old"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "unset CUDA_VISIBLE_DEVICES or name a GPU in it"),
        ({"LD_LIBRARY_PATH": ""}, "there is no NVIDIA driver"),
    ],
    ids=["too old", "no visible device", "no driver"],
)
def test_run_says_why_a_driver_asked_for_by_name_cannot_be_had(
    tmp_path: Path, settings: dict[str, str], reason: str
) -> None:
    app = write_program(tmp_path, "print('ran')")
    done = command(
        "run", app.name, cwd=tmp_path,
        env={**cuda_environment(), "GPU_NARRATION_BACKEND": "driver", **settings},
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "[backend-unavailable]" in done.stderr


def test_run_takes_a_driver_asked_for_by_name(tmp_path: Path) -> None:
    app = write_program(tmp_path, "print('ran')")

    done = command(
        "run", "--backend", "driver", app.name, cwd=tmp_path, env=cuda_environment()
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "ran\n")


# ---- what a program can do to its GPU ----


def test_a_reset_inside_a_span_is_told_of_and_the_program_goes_on(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        begin()
        stream = new_stream()
        with span("app", "step", gpu=True, stream=stream):
            launch(stream)
            assert cuda.cuDevicePrimaryCtxReset_v2(0) == 0
        narration.stop()
        print("went on", cuda.fake_cuStale())
        """,
    )

    assert re.search("(?i)context.*destroyed", _reason(traced))
    assert traced.stdout == "went on 0\n"


def test_a_reset_before_intervals_were_read_is_told_of(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        begin()
        stream = new_stream()
        step(stream, length_ns=10_000_000_000)
        assert cuda.cuDevicePrimaryCtxReset_v2(0) == 0
        time.sleep(0.1)
        narration.stop()
        print("went on", cuda.fake_cuStale())
        """,
    )

    assert re.search("(?i)context.*destroyed", _reason(traced))
    assert traced.stdout == "went on 0\n"


def test_an_illegal_address_is_told_of_and_the_program_goes_on(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        begin()
        stream = new_stream()
        step(stream, fault=700)
        time.sleep(0.1)
        with span("app", "after", gpu=True, stream=stream):
            pass
        narration.stop()
        print("went on", cuda.fake_cuStale())
        """,
    )

    assert [step["gpu_ns"] for step in traced.steps()] == [None, None]
    assert all(step["gpu_reason"] for step in traced.steps())
    assert traced.stdout == "went on 0\n"


def test_a_lost_device_is_told_of_and_the_program_goes_on(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        begin()
        step(new_stream(), length_ns=10_000_000_000)
        cuda.fake_cuLose(0, 46)
        time.sleep(0.1)
        narration.stop()
        print("went on", cuda.fake_cuStale())
        """,
    )

    assert _reason(traced)
    assert traced.stdout == "went on 0\n"


def test_a_forked_child_says_why_it_has_no_gpu_time(tmp_path: Path) -> None:
    """GIVEN a parent that uses CUDA WHEN it forks THEN the child ends well, with the reason."""
    traced = run_traced(
        tmp_path,
        """
        begin()
        stream = new_stream()
        step(stream, "parent")
        time.sleep(0.05)
        child = os.fork()
        if child == 0:
            with span("app", "child", gpu=True, stream=stream):
                pass
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
        """,
    )

    assert traced.stdout == "0\n"
    reasons = [str(step.get("gpu_reason")) for step in traced.steps() if step["gpu_ns"] is None]
    assert len(reasons) == 1
    assert "not initialised" in reasons[0] or "forked child" in reasons[0]


# ---- the end of the process ----


def test_a_program_that_ends_while_work_is_pending_does_not_wait_for_it(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        begin()
        step(new_stream(), length_ns=3_600_000_000_000)
        """,
    )

    assert _reason(traced) == "not finished when the recording ended"


@pytest.mark.parametrize("pending_ns", [10_000, 3_600_000_000_000])
def test_a_driver_that_shuts_down_before_the_recording_ends_breaks_nothing(
    tmp_path: Path, pending_ns: int
) -> None:
    traced = run_traced(
        tmp_path,
        f"""
        begin()
        atexit.register(cuda.fake_cuDeinitialize)  # runs before what was registered earlier
        step(new_stream(), length_ns={pending_ns})
        """,
    )

    assert traced.stderr == ""
    assert len(traced.steps()) == 1


def test_a_thread_that_still_works_at_the_end_breaks_nothing(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        begin()
        stream = new_stream()

        def work():
            while True:
                step(stream, length_ns=1000)

        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.05)
        """,
    )

    assert traced.stderr == ""


def test_looking_for_a_backend_loads_no_framework(tmp_path: Path) -> None:
    traced = run_traced(
        tmp_path,
        """
        with span("app", "step", gpu=True):
            pass
        print(sorted({"cupy", "torch", "numba"} & set(sys.modules)))
        """,
    )

    assert traced.stdout == "[]\n"
