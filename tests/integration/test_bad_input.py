"""What is wrong is refused before anything is made, and said in words that help."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gpu_narration
from gpu_narration import (
    AlreadyRecordingError,
    BackendUnavailableError,
    FilterError,
    GpuNarrationError,
    OptionError,
    TraceExistsError,
    TracePathError,
    UnknownBackendError,
)
from tests.conftest import Record
from tests.support.programs import actions_of, begin_python, command, finish, python, write_program
from tests.support.run import TIMEOUT_S, environment

#: Reading it fails for root too.
NO_DIRECTORY = "/proc/1/no_such_place/t.gnt"

ONE_EVENT = """
from gpu_narration import trace_tiny
trace_tiny("app", "step", "", "")
print("went on")
"""


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def begin(path: str | Path, **options: object) -> gpu_narration.Recorder:
    quiet: dict[str, object] = {
        "backend": "none", "vram": False, "nvtx": "off", "children": False, **options
    }  # fmt: skip
    return gpu_narration.start(path, **quiet)  # type: ignore[arg-type]


# ---- paths ----


def test_a_path_that_cannot_be_written_is_named() -> None:
    with pytest.raises(TracePathError, match=NO_DIRECTORY):
        begin(NO_DIRECTORY)


def test_after_a_refused_start_nothing_records() -> None:
    with pytest.raises(TracePathError):
        begin(NO_DIRECTORY)
    assert gpu_narration.stats() is None


def test_a_file_is_no_place_for_a_trace(tmp_path: Path) -> None:
    (tmp_path / "t.gnt").write_text("mine")
    with pytest.raises(TraceExistsError, match="is a file"):
        begin(tmp_path / "t.gnt", overwrite=True)
    assert (tmp_path / "t.gnt").read_text() == "mine"


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TracePathError):
        begin(tmp_path / "file" / "t.gnt")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("marker", [None, "", "[]", '{"format": "other"}', "\0\xff"])
def test_a_directory_that_is_no_trace_is_left_untouched(
    tmp_path: Path, marker: str | None, overwrite: bool
) -> None:
    """GIVEN someone's own directory, even with a trace.json, THEN not a byte of it changes."""
    foreign = tmp_path / "t.gnt"
    (foreign / "sub").mkdir(parents=True)
    (foreign / "data.seg").write_bytes(b"mine")
    (foreign / "sub" / "1-a.000.seg").write_bytes(b"mine")
    if marker is not None:
        (foreign / "trace.json").write_text(marker, encoding="latin-1")
    before = contents(foreign)
    with pytest.raises(TraceExistsError, match="is no trace"):
        begin(foreign, overwrite=overwrite)
    assert contents(foreign) == before


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "t.gnt").mkdir()
    begin(tmp_path / "t.gnt").stop()
    assert actions_of(tmp_path / "t.gnt") == []


def record_one(path: Path, action: str, **options: object) -> None:
    with begin(path, **options):
        gpu_narration.trace_tiny("app", action, "", "")


def test_an_existing_trace_is_refused(tmp_path: Path) -> None:
    record_one(tmp_path / "t.gnt", "old")
    with pytest.raises(TraceExistsError, match="holds a trace already"):
        begin(tmp_path / "t.gnt")
    assert actions_of(tmp_path / "t.gnt") == ["old"]


def test_an_existing_trace_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    record_one(tmp_path / "t.gnt", "old")
    record_one(tmp_path / "t.gnt", "new", overwrite=True)
    assert actions_of(tmp_path / "t.gnt") == ["new"]


def test_what_someone_put_beside_a_trace_survives_its_replacement(tmp_path: Path) -> None:
    record_one(tmp_path / "t.gnt", "old")
    (tmp_path / "t.gnt" / "notes.txt").write_text("mine")
    record_one(tmp_path / "t.gnt", "new", overwrite=True)
    assert (tmp_path / "t.gnt" / "notes.txt").read_text() == "mine"


def test_a_trace_that_a_process_still_writes_is_never_replaced(tmp_path: Path) -> None:
    """GIVEN a live trace of another process WHEN overwrite is asked for THEN it is refused."""
    app = write_program(tmp_path, ONE_EVENT + "import sys; sys.stdout.flush(); input()")
    process = begin_python(
        "-m", "gpu_narration.cli", "run", "-q", "--backend", "none", "-o", "t.gnt", app,
        cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(TraceExistsError, match="running process"):
        begin(tmp_path / "t.gnt", overwrite=True)
    finish(process, "\n")
    assert actions_of(tmp_path / "t.gnt") == ["step"]


@pytest.mark.parametrize("path", ["", ".", "..", "/", "a\0b", "x" * 300, b"t.gnt", 3])
def test_what_cannot_name_a_directory_is_refused(path: object) -> None:
    with pytest.raises(TracePathError, match=r"\[trace-path\]$"):
        begin(path)  # type: ignore[arg-type]
    assert gpu_narration.stats() is None


@pytest.mark.parametrize("seconds", [math.nan, -1, "1", None])
@pytest.mark.parametrize(
    "wait", [gpu_narration.flush, functools.partial(gpu_narration.dump, "why")]
)
def test_a_timeout_that_is_no_time_is_refused(record: Record, wait: Any, seconds: Any) -> None:
    record.start(mode="flight")
    with pytest.raises(OptionError, match="timeout_s="):
        wait(seconds)
    record.stop()


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 10**400])
@pytest.mark.parametrize(
    "wait", [gpu_narration.flush, functools.partial(gpu_narration.dump, "why")]
)
def test_a_timeout_may_be_as_long_as_one_likes(record: Record, wait: Any, seconds: Any) -> None:
    record.start(mode="flight")
    done = wait(seconds)
    record.stop()
    assert done


def test_the_suffix_is_added_where_it_lacks(tmp_path: Path) -> None:
    record_one(tmp_path / "plain", "step")
    assert actions_of(tmp_path / "plain.gnt") == ["step"]


# ---- options ----


def test_a_second_start_is_refused(record: Record) -> None:
    record.start()
    with pytest.raises(AlreadyRecordingError, match=r"call stop\(\) first"):
        begin("second.gnt")
    record.stop()


BAD_OPTIONS: list[tuple[dict[str, object], type[GpuNarrationError], str]] = [
    ({"backend": "cuda"}, UnknownBackendError, "there is no backend 'cuda'"),
    ({"filter": "info,a=loud"}, FilterError, "'a=loud'"),
    ({"on_full": "block"}, OptionError, "on_full='block'"),
    ({"mode": "ring"}, OptionError, "mode='ring'"),
    ({"nvtx": "yes"}, OptionError, "nvtx='yes'"),
    ({"clock": "tsc"}, OptionError, "clock='tsc'"),
    ({"console": "loud"}, OptionError, "console='loud'"),
    ({"ring_bytes": 1}, OptionError, "ring_bytes=1"),
    ({"ring_bytes": 1 << 40}, OptionError, "ring_bytes="),
    ({"ring_bytes": "8 MiB"}, OptionError, "ring_bytes='8 MiB'"),
    ({"filter": 3}, FilterError, "the filter is int, not str"),
    ({"control": "no"}, OptionError, "control='no'"),
    ({"children": None}, OptionError, "children=None"),
    ({"vram": 1}, OptionError, "vram=1"),
    ({"dump_on_exception": "no"}, OptionError, "dump_on_exception='no'"),
    ({"mode": "flight", "dump_signal": True}, OptionError, "dump_signal=True"),
]


@pytest.mark.parametrize(("options", "error", "words"), BAD_OPTIONS)
def test_a_wrong_option_is_named(
    tmp_path: Path, options: dict[str, object], error: type[GpuNarrationError], words: str
) -> None:
    with pytest.raises(error) as caught:
        begin(tmp_path / "t.gnt", **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(("options", "error", "words"), BAD_OPTIONS)
def test_a_wrong_option_makes_no_file(
    tmp_path: Path, options: dict[str, object], error: type[GpuNarrationError], words: str
) -> None:
    with pytest.raises(error):
        begin(tmp_path / "t.gnt", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is here")
def test_cupy_asked_for_by_name_and_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="pip install"):
        begin(tmp_path / "t.gnt", backend="cupy")


def test_a_wrong_filter_leaves_the_old_one(record: Record) -> None:
    """GIVEN a recording WHEN set_filter refuses a text THEN what was kept out stays out."""
    record.start(filter="off,app=trace")
    with pytest.raises(FilterError):
        gpu_narration.set_filter("app=loud")
    gpu_narration.trace_tiny("app", "kept", "", "")
    gpu_narration.trace_tiny("other", "kept_out", "", "")
    assert [event.names[1] for event in record.stop().events] == ["kept"]


@pytest.mark.parametrize("error", [error for _, error, _ in BAD_OPTIONS])
def test_every_message_ends_in_its_slug(error: type[GpuNarrationError]) -> None:
    assert str(error("What is wrong")).endswith(f"[{error.slug}]")


# ---- templates ----


def test_a_template_that_does_not_fit_is_shown_as_such(record: Record) -> None:
    record.start()
    gpu_narration.trace_tiny("app", "step", "t", "{} of {}", 1)
    assert record.stop().lines == [
        'TRACE app step t "{} of {} [the template does not fit its values: 1]"'
    ]


@pytest.mark.parametrize("wrong", [("a",), ("a", "b"), ("a", "b", "c")])
def test_a_call_with_too_few_texts_is_a_type_error(record: Record, wrong: tuple[str, ...]) -> None:
    record.start()
    with pytest.raises(TypeError):
        gpu_narration.trace_tiny(*wrong)
    assert record.stop().events == []


# ---- a recording that the environment asks for ----


@pytest.mark.parametrize("bad", [
    {"GPU_NARRATION_FILE": NO_DIRECTORY},
    {"GPU_NARRATION_FILE": "."},
    {"GPU_NARRATION_FILE": "t.gnt", "GPU_NARRATION": "a=loud"},
    {"GPU_NARRATION_FILE": "t.gnt", "GPU_NARRATION_BACKEND": "cuda"},
], ids=["path", "no name", "filter", "backend"])  # fmt: skip
def test_an_environment_that_is_wrong_costs_the_program_one_line(
    tmp_path: Path, bad: dict[str, str]
) -> None:
    """GIVEN a variable that cannot be followed THEN the program goes on and one line says so."""
    app = write_program(tmp_path, ONE_EVENT * 3)
    done = python(app, cwd=tmp_path, env=bad)
    assert (done.returncode, done.stdout) == (0, "went on\n" * 3)
    assert done.stderr.startswith("gpu_narration: nothing is recorded: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_environment_never_replaces_what_is_there(tmp_path: Path) -> None:
    app = write_program(tmp_path, ONE_EVENT)
    (tmp_path / "t.gnt").write_text("mine")
    done = python(app, cwd=tmp_path, env={"GPU_NARRATION_FILE": "t.gnt"})
    assert done.stdout == "went on\n"
    assert (tmp_path / "t.gnt").read_text() == "mine"
    assert actions_of(tmp_path / "t-2.gnt") == ["step"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(TracePathError, match="Permission denied"):
        begin(tmp_path / "t.gnt")


# ---- on the command line ----


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "nothing.gnt"],
        ["show", "."],
        ["run", "-o", "file", "--overwrite", "app.py"],
        ["run", "--filter", "a=loud", "app.py"],
        ["run", "-o", NO_DIRECTORY, "app.py"],
        ["run", "-o", "", "app.py"],
        ["run", "-o", ".", "app.py"],
        ["show", "\x1b[31mred\nline.gnt"],
        ["flush", "\x1b[31mred\nline.gnt"],
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, arguments: list[str]) -> None:
    """GIVEN what cannot be done THEN the program does not run and there is no traceback."""
    write_program(tmp_path, ONE_EVENT)
    (tmp_path / "file.gnt").write_text("mine")
    done = command(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr


def test_an_option_that_run_does_not_have_is_said_to_be_none(tmp_path: Path) -> None:
    done = command("run", "--bogus", "app.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert "--bogus" in done.stderr


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "soon"])
def test_a_command_does_not_wait_for_a_time_that_is_none(tmp_path: Path, seconds: str) -> None:
    done = command("flush", "t.gnt", "--timeout", seconds, cwd=tmp_path)
    assert done.returncode == 2
    assert "Invalid value for '--timeout'" in done.stderr


@pytest.mark.parametrize("name", ["trace.json", "1-a.ring", "1-a.000.seg"])
@pytest.mark.parametrize("verb", ["show", "spans", "flush"])
def test_a_pipe_among_the_files_of_a_trace_holds_no_reader_up(
    tmp_path: Path, verb: str, name: str
) -> None:
    """GIVEN a pipe to which nobody writes THEN it is an error, not a wait."""
    record_one(tmp_path / "t.gnt", "step")
    (tmp_path / "t.gnt" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "t.gnt" / name)
    done = command(verb, "t.gnt", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_help_that_cannot_be_written_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gpu_narration.cli", "--help"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(),
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "Error: [Errno 28] No space left on device [system-error]\n"


def test_a_trace_in_which_there_is_nothing_to_sum_up_says_so(tmp_path: Path) -> None:
    record_one(tmp_path / "t.gnt", "step")
    done = command("spans", "t.gnt", "--actor", "no one", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "of the actor 'no one' in t.gnt" in done.stderr
