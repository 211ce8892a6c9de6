"""The command line of ``nsys profile``, and what is said about the nsys of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_narration._errors import OptionError
from gpu_narration.nsight import tool
from gpu_narration.nsight.profile import command
from gpu_narration.nsight.tool import NoNsysError, Nsys, denied, find_nsys, sampling_of
from tests.support.nsys import FakeNsys

APP = ("python", "app.py")
BASE = Path("app")


def line(*options: str, capture_range: str | None = None, **how: bool) -> str:
    """The built command as one text."""
    built, _ = command("nsys", APP, BASE, options=options, capture_range=capture_range, **how)
    return " ".join(built)


# ---- the line of five typical uses ----


def test_plain() -> None:
    assert line() == (
        "nsys profile --trace=cuda,nvtx,osrt --sample=none --cpuctxsw=none "
        "--cuda-graph-trace=node --export=sqlite --output=app python app.py"
    )


def test_one_range_only() -> None:
    assert line(capture_range="prefill") == (
        "nsys profile --trace=cuda,nvtx,osrt --sample=none --cpuctxsw=none "
        "--cuda-graph-trace=node --export=sqlite --capture-range=nvtx "
        "--nvtx-capture=prefill@gpu_narration --capture-range-end=stop --output=app python app.py"
    )


def test_with_device_memory_and_in_place_of_an_old_report() -> None:
    assert line(memory_usage=True, overwrite=True) == (
        "nsys profile --trace=cuda,nvtx,osrt --sample=none --cpuctxsw=none "
        "--cuda-graph-trace=node --export=sqlite --cuda-memory-usage=true --output=app "
        "--force-overwrite=true python app.py"
    )


def test_with_samples_of_the_cpu_and_metrics_of_the_gpu() -> None:
    assert line("--sample=process-tree", "--gpu-metrics-devices=0") == (
        "nsys profile --trace=cuda,nvtx,osrt --cpuctxsw=none --cuda-graph-trace=node "
        "--export=sqlite --output=app --sample=process-tree --gpu-metrics-devices=0 python app.py"
    )


def test_with_short_options_and_a_name_of_the_users() -> None:
    assert line("-t", "cuda,nvtx,mpi", "-o", "runs/one", "--export=parquetdir,sqlite") == (
        "nsys profile --sample=none --cpuctxsw=none --cuda-graph-trace=node "
        "-t cuda,nvtx,mpi -o runs/one --export=parquetdir,sqlite python app.py"
    )


# ---- its parts ----


@pytest.mark.parametrize(
    ("options", "base", "exported"),
    [
        ((), "app", True),
        (("-o", "runs/one"), "runs/one", True),
        (("--output=two.nsys-rep",), "two", True),
        (("--export=none",), "app", False),
        (("--export=parquetdir,sqlite",), "app", True),
    ],
)
def test_it_is_known_where_the_report_will_be(
    options: tuple[str, ...], base: str, exported: bool
) -> None:
    _, report = command("nsys", APP, BASE, options=options)
    assert (str(report.base), report.exported) == (base, exported)


def test_an_output_with_dots_keeps_them() -> None:
    _, report = command("nsys", APP, Path("run.v1.2"))
    assert (report.report.name, report.sqlite.name) == ("run.v1.2.nsys-rep", "run.v1.2.sqlite")


def test_what_has_a_meaning_in_range_at_domain_is_escaped() -> None:
    assert r"--nvtx-capture=a\@b\\c@gpu_narration " in line(capture_range="a@b\\c")


def test_two_capture_ranges_are_one_too_many() -> None:
    with pytest.raises(OptionError, match="--capture-range is among nsys's options too"):
        line("-c", "cudaProfilerApi", capture_range="prefill")


# ---- the nsys of this machine ----


def test_none_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(tool, "_PLACES", ())
    with pytest.raises(NoNsysError) as raised:
        find_nsys()
    assert str(raised.value) == (
        "there is no nsys on PATH, in /opt/nvidia or in /usr/local/cuda; nsys is the command of "
        "NVIDIA Nsight Systems, which a CUDA toolkit or the package nsight-systems-cli installs; "
        "install it from https://developer.nvidia.com/nsight-systems, or add its bin directory "
        "to PATH [no-nsys]"
    )


def test_the_one_on_path_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = FakeNsys(tmp_path, version="NVIDIA Nsight Systems version 2024.5.1.113-245134619542v0")
    monkeypatch.setenv("PATH", str(fake.directory))
    assert find_nsys() == Nsys(fake.path, (2024, 5))


def test_the_newest_installed_one_is_taken_where_path_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for version in ("2023.4", "2025.10", "2025.9"):
        (tmp_path / version).mkdir()
        FakeNsys(tmp_path / version, version=f"version {version}.1")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(tool, "_PLACES", (f"{tmp_path}/*/nsys-bin/nsys",))
    assert find_nsys().version == (2025, 10)


def test_one_that_tells_no_version_is_used_and_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = FakeNsys(tmp_path, version="who asks")
    monkeypatch.setenv("PATH", str(fake.directory))
    found = find_nsys()
    assert found.version is None
    assert [*found.shortcomings()] == [
        f"{fake.path} does not tell its version; if it refuses an option, update it"
    ]


@pytest.mark.parametrize(
    ("version", "said"), [((2026, 3), 0), ((2027, 1), 0), ((2024, 5), 1), ((2021, 4), 2)]
)
def test_an_old_version_is_told(version: tuple[int, int], said: int) -> None:
    assert len([*Nsys(Path("nsys"), version).shortcomings()]) == said


def test_too_old_for_counters_says_where_memory_is() -> None:
    assert [*Nsys(Path("nsys"), (2024, 5)).shortcomings()] == [
        (
            "nsys 2024.5 draws no NVTX counters, which 2026.3 and newer do; "
            "memory is in the trace: gpu-narration vram"
        )
    ]


# ---- what the machine denies ----


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine where one who is not root may measure nothing."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    paranoid, params = tmp_path / "paranoid", tmp_path / "params"
    paranoid.write_text("4\n")
    params.write_text("Foo: 0\nRmProfilingAdminOnly: 1\n")
    monkeypatch.setattr(tool, "_PARANOID", paranoid)
    monkeypatch.setattr(tool, "_DRIVER_SETTINGS", params)
    return tmp_path


@pytest.mark.usefixtures("strict")
def test_sampling_that_the_kernel_refuses_is_told_with_the_way_out() -> None:
    assert [*denied(("-s", "process-tree"))] == [
        (
            "sampling the CPU (process-tree) needs kernel.perf_event_paranoid at 2 or lower, and it "
            "is 4: 'sudo sysctl -w kernel.perf_event_paranoid=2', or leave it out; CUDA and NVTX are "
            "traced all the same"
        )
    ]


@pytest.mark.usefixtures("strict")
def test_metrics_that_the_driver_refuses_are_told_with_the_way_out() -> None:
    (said,) = denied(("--gpu-metrics-devices=all",))
    assert "NVreg_RestrictProfilingToAdminUsers=0" in said


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("options", [(), ("--sample=none",), ("-t", "cuda"), ("-s", "none")])
def test_what_needs_no_permission_is_not_talked_about(options: tuple[str, ...]) -> None:
    assert [*denied(options)] == []


def test_a_machine_that_allows_it_is_left_in_peace(strict: Path) -> None:
    (strict / "paranoid").write_text("2\n")
    assert [*denied(("--sample=process-tree",))] == []
    assert len([*denied(("--sample=system-wide",))]) == 1


@pytest.mark.usefixtures("strict")
def test_root_may_do_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert [*denied(("--sample=system-wide", "--gpu-metrics-devices=all"))] == []


def test_the_wider_sampling_counts() -> None:
    assert sampling_of(("--sample=system-wide", "--cpuctxsw=process-tree")) == "system-wide"
