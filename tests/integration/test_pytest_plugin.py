"""The pytest plugin: each marker with a test that keeps its limit and one that does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpu_narration.tracefile import Trace

pytest_plugins = ["pytester"]

PRELUDE = """
import pytest
import gpu_narration
from gpu_narration import cuda, span, trace_fn

MIB, GIB = 1 << 20, 1 << 30

def gpu():
    return cuda.current().backend.gpu
"""


@pytest.fixture(autouse=True)
def no_backend_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_NARRATION_BACKEND", raising=False)


def _run(
    pytester: pytest.Pytester, body: str, *arguments: str, backend: str = "mock"
) -> pytest.RunResult:
    pytester.makepyfile(PRELUDE + body)
    given = ["--gpu-narration-backend", backend] if backend else []
    return pytester.runpytest("-p", "no:cacheprovider", "--strict-markers", *given, *arguments)


# ---- vram_limit ----


def test_a_test_within_its_limit_of_memory_passes(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
@pytest.mark.vram_limit("2 GiB")
def test_load():
    with span("engine", "load_model", vram=True):
        gpu().malloc(2 * GIB)
""")  # fmt: skip
    done.assert_outcomes(passed=1)


def test_a_test_beyond_its_limit_of_memory_names_the_scope_that_took_it(
    pytester: pytest.Pytester,
) -> None:
    """GIVEN a pool that rose and was trimmed THEN the peak counts, and the inner scope is named."""
    done = _run(pytester, """
@pytest.mark.vram_limit("2 GiB")
def test_load():
    gpu().malloc(GIB // 2)
    with span("engine", "setup", vram=True):
        with span("engine", "load_model", vram=True):
            gpu().pool().free(gpu().pool().malloc(3 * GIB))
        gpu().pool().trim()
""")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([
        "*VRAM rose 3.5 GiB above its start on simulated gpu0 (sampled), 1.5 GiB more *",
        "  engine load_model: 0 B by itself, 512.0 MiB → 3.5 GiB, peak 3.5 GiB (exact)",
        "  engine setup: 0 B by itself, 512.0 MiB → 512.0 MiB, peak 3.5 GiB (exact)",
    ])  # fmt: skip


def test_memory_that_no_scope_took_is_said_to_be_so(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
@pytest.mark.vram_limit(MIB)
def test_load():
    gpu().malloc(2 * MIB)
""")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*VRAM rose 2.0 MiB*", "  in no scope inside; span(vram=True)*"])


# ---- vram_leak ----


def test_what_a_pool_keeps_unused_is_no_leak(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
@pytest.mark.vram_leak(tolerance="1 MiB")
def test_step():
    with span("engine", "step", vram=True):
        gpu().pool().free(gpu().pool().malloc(GIB))
        gpu().malloc(MIB)
""")  # fmt: skip
    done.assert_outcomes(passed=1)


def test_a_leak_names_the_scope_that_left_it(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
@pytest.mark.vram_leak(tolerance="1 MiB")
def test_steps():
    pool = gpu().pool()
    with span("engine", "steps", vram=True):
        with span("engine", "clean", vram=True):
            pool.free(pool.malloc(GIB))
        with span("engine", "leaky", vram=True):
            gpu().malloc(64 * MIB)
""")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([
        "*64.0 MiB of VRAM are still taken on simulated gpu0 (exact, 1.0 GiB more lie unused *",
        "  engine leaky: +64.0 MiB by itself, 1.0 GiB → 1.1 GiB, peak 1.1 GiB (*)",
    ])  # fmt: skip
    done.stdout.no_fnmatch_line("*engine clean*")


def test_a_cycle_that_the_collector_would_free_is_no_leak(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
class Tensor:
    def __init__(self):
        self.gpu, self.self = gpu(), self
        self.address = self.gpu.malloc(GIB)
    def __del__(self):
        self.gpu.free(self.address)

@pytest.mark.vram_leak
def test_step():
    Tensor()
""")  # fmt: skip
    done.assert_outcomes(passed=1)


# ---- gpu_time_limit ----

KERNEL = """
saxpy = cuda.kernel(cuda.MockKernel("saxpy", 4_000_000), every=1)
untimed = cuda.kernel(cuda.MockKernel("untimed", 4_000_000))
"""


def test_a_test_within_its_limit_of_gpu_time_passes(pytester: pytest.Pytester) -> None:
    done = _run(pytester, KERNEL + """
@pytest.mark.gpu_time_limit("5 s")
def test_launch():
    saxpy((1,), (1,), ())
""")  # fmt: skip
    done.assert_outcomes(passed=1)


def test_a_test_beyond_its_limit_of_gpu_time_names_the_scope_and_its_stream(
    pytester: pytest.Pytester,
) -> None:
    done = _run(pytester, KERNEL + """
@pytest.mark.gpu_time_limit("5 ms")
def test_launches():
    with span("engine", "prefill"):
        saxpy((1,), (1,), ())
        saxpy((1,), (1,), ())
    with span("engine", "decode"):
        saxpy((1,), (1,), ())
""")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([
        "*ms elapsed on simulated gpu0, *ms more than gpu_time_limit('5 ms') allows",
        "  engine prefill: saxpy: 8.* ms elapsed on stream 0 (2 times)",
        "  engine decode: saxpy: 4.* ms elapsed on stream 0",
    ])  # fmt: skip


def test_a_limit_of_gpu_time_without_anything_timed_is_not_kept_by_chance(
    pytester: pytest.Pytester,
) -> None:
    done = _run(pytester, """
@pytest.mark.gpu_time_limit("5 ms")
def test_nothing():
    pass
""")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["gpu_time_limit cannot be judged: nothing in the test was timed*"])


def test_work_that_could_not_be_timed_is_not_taken_for_quick(pytester: pytest.Pytester) -> None:
    done = _run(pytester, KERNEL + """
@pytest.mark.gpu_time_limit("5 s")
def test_captured():
    stream = gpu().stream()
    gpu().begin_capture(stream)
    saxpy((1,), (1,), (), stream=stream)
    gpu().end_capture(stream)
""")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["gpu_time_limit cannot be judged: no GPU time of: stream capture (1)*"]
    )


def test_launches_that_nobody_times_count_by_the_scope_round_them(
    pytester: pytest.Pytester,
) -> None:
    done = _run(pytester, KERNEL + """
@pytest.mark.gpu_time_limit("5 s")
def test_within():
    with span("engine", "prefill", gpu=True):
        untimed((1,), (1,), ())

@pytest.mark.gpu_time_limit("3 ms")
def test_beyond():
    with span("engine", "prefill", gpu=True), span("engine", "layer"):
        untimed((1,), (1,), ())

@pytest.mark.gpu_time_limit("5 s")
def test_outside():
    with span("engine", "prefill", gpu=True):
        pass
    untimed((1,), (1,), ())
""")  # fmt: skip
    done.assert_outcomes(passed=1, failed=2)
    done.stdout.fnmatch_lines([
        "  engine prefill: 4.* ms elapsed on stream 0",
        "*no GPU time of: launches of this kernel are not timed (1); time launches with *every=1*",
    ])  # fmt: skip


# ---- where there is no GPU, and what a test itself does ----


def test_without_gpu_and_without_mock_they_are_skipped_with_the_reason(
    pytester: pytest.Pytester,
) -> None:
    done = _run(pytester, """
@pytest.mark.vram_limit("2 GiB")
def test_load():
    raise AssertionError("it must not run")
""", "-rs", backend="none")  # fmt: skip
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["SKIPPED * can be tested here: backend none was asked for; *mock*"])


def test_the_variable_chooses_where_the_option_does_not(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_NARRATION_BACKEND", "mock")
    done = _run(pytester, """
@pytest.mark.vram_limit("2 GiB")
def test_load():
    gpu().malloc(GIB)
""", backend="")  # fmt: skip
    done.assert_outcomes(passed=1)


def test_a_backend_that_was_asked_for_and_cannot_be_had_is_a_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    done = _run(pytester, """
@pytest.mark.vram_limit("2 GiB")
def test_load():
    pass
""", backend="cupy")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*the cupy backend cannot work here*backend-unavailable*"])


def test_a_backend_that_does_not_exist_is_refused_before_any_test(
    pytester: pytest.Pytester,
) -> None:
    done = _run(pytester, "def test_any(): pass", backend="cudda")

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--gpu-narration-backend: there is no backend 'cudda'*"])


def test_a_test_that_fails_by_itself_fails_with_its_own_report(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
@pytest.mark.vram_limit("1 MiB")
def test_load():
    gpu().malloc(GIB)
    assert 1 == 2
""")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*assert 1 == 2*"])
    done.stdout.no_fnmatch_line("*VRAM rose*")


def test_two_limits_that_are_not_kept_are_both_reported(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
@pytest.mark.vram_limit("1 MiB")
@pytest.mark.vram_leak("2 MiB")
def test_load():
    gpu().malloc(GIB)
""")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*VRAM rose 1.0 GiB*", "*1.0 GiB of VRAM are still taken*"])


def test_a_marker_of_a_class_counts_for_its_tests(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
@pytest.mark.vram_limit("1 MiB")
class TestAll:
    def test_load(self):
        gpu().malloc(GIB)

    @pytest.mark.vram_limit("2 GiB")
    def test_more(self):
        gpu().malloc(GIB)
""")  # fmt: skip
    done.assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('vram_limit("2 gigs")', "*vram_limit: '2 gigs' is no size; write it as '2 GiB'*"),
        ("vram_limit(-1)", "*vram_limit: -1 is less than nothing*"),
        ("vram_limit(True)", "*vram_limit: True is no size*"),
        ("vram_limit", '*vram_limit has 0 arguments; it is vram_limit("2 GiB")*'),
        ('vram_limit("1 GiB", "2 GiB")', "*vram_limit has 2 arguments*"),
        ('vram_leak(tolerence="1 MiB")', "*vram_leak has an unknown argument 'tolerence'*"),
        ("gpu_time_limit(5)", "*gpu_time_limit: 5 is no time; write it as '5 ms'*"),
        ('gpu_time_limit("5 GiB")', "*gpu_time_limit: '5 GiB' is no time*"),
    ],
)
def test_wrong_arguments_are_an_error_of_collection(
    pytester: pytest.Pytester, marker: str, message: str
) -> None:
    """GIVEN a marker that cannot be read THEN the file is not collected and nothing runs."""
    done = _run(pytester, f"""
def test_other():
    pass

@pytest.mark.{marker}
def test_load():
    pass
""")  # fmt: skip
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([f"{message}bad-marker*"])


def test_the_markers_are_registered(pytester: pytest.Pytester) -> None:
    shown = pytester.runpytest("--markers").stdout

    for marker in ("vram_limit", "vram_leak", "gpu_time_limit"):
        shown.fnmatch_lines([f"@pytest.mark.{marker}(*"])


# ---- other recordings, other processes ----


def test_a_recording_that_runs_is_joined_and_not_stopped(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
import gpu_narration, pytest

@pytest.fixture(scope="session", autouse=True)
def recording():
    with gpu_narration.start("own", backend="mock"):
        yield
""")
    done = _run(pytester, """
@pytest.mark.vram_limit("2 GiB")
def test_load():
    with span("engine", "load_model", vram=True):
        gpu().malloc(3 * GIB)

def test_after():
    assert gpu_narration.stats() is not None
""", backend="")  # fmt: skip
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["  engine load_model: +3.0 GiB by itself*"])
    names = [event.names[1] for event in Trace(pytester.path / "own.gnt").events()]
    assert "test_load" in names


def test_a_recording_without_a_gpu_decides_that_there_is_none(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
import gpu_narration, pytest

@pytest.fixture(scope="session", autouse=True)
def recording():
    with gpu_narration.start("own", backend="none"):
        yield
""")
    done = _run(pytester, """
@pytest.mark.vram_limit("2 GiB")
def test_load():
    pass
""", "-rs")  # fmt: skip
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["*the recording that runs has no GPU: backend none was asked for"])


def test_processes_side_by_side_have_recordings_of_their_own(tmp_path: Path) -> None:
    """GIVEN two processes of pytest in one directory, as xdist's THEN each judges its own test."""
    for name, size in (("a", 1), ("b", 3)):
        (tmp_path / f"test_{name}.py").write_text(
            PRELUDE
            + f"""
@pytest.mark.vram_limit("2 GiB")
def test_load():
    gpu().malloc({size} * GIB)
"""
        )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    runs = [
        subprocess.Popen(
            [*command, "--gpu-narration-backend", "mock", f"test_{name}.py"],
            cwd=tmp_path, stdout=subprocess.DEVNULL,
        )
        for name in ("a", "b")
    ]  # fmt: skip

    assert [run.wait(120) for run in runs] == [0, 1]


def test_a_run_that_uses_no_marker_loads_nothing_for_it(tmp_path: Path) -> None:
    """GIVEN the plugin WHEN a run has no such marker THEN reader, GPU side and numpy stay out."""
    (tmp_path / "test_plain.py").write_text("""
import sys

def test_plain():
    assert "gpu_narration.testing.plugin" in sys.modules
    heavy = ("gpu_narration.tracefile", "gpu_narration.views", "gpu_narration.cuda",
             "gpu_narration.timeline", "numpy", "nvtx", "pynvml", "cupy", "click", "rich")
    assert [name for name in heavy if name in sys.modules] == []
""")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_plain.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
