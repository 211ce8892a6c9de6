"""The program gpu_check, run on the simulated GPU: what it does, refuses and writes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import ROOT, gpu_check, load
from tests.support.run import environment

COPIED = ("bench", "gpu_narration", "kernels", "tests", "setup.py", "pyproject.toml", "README.md",
          "LICENSE")  # fmt: skip
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.so", "*.pyc")


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Any]:
    """The whole flow on the simulator with the installed package; its end and its report."""
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        pytest.skip("no C compiler: the counter cannot be built")
    directory = tmp_path_factory.mktemp("gpu_check")
    out = directory / "try.json"
    done = gpu_check(
        "--simulate", "--quick", "--installed", "--scratch", directory / "scratch", "--out", out
    )
    assert done.returncode == 0, done.stderr
    return done, json.loads(out.read_text())


def test_a_simulated_report_says_so_first_and_last(tried: tuple[Any, Any]) -> None:
    done, report = tried
    assert report["simulated"] is True
    assert "says nothing of any GPU" in done.stdout


def test_every_part_ran(tried: tuple[Any, Any]) -> None:
    parts = tried[1]["parts"]
    assert len(parts) == 11
    assert [name for name, found in parts.items() if "failed" in found] == []


def test_the_ruler_was_measured_at_all_lengths_in_both_ways(tried: tuple[Any, Any]) -> None:
    rows = tried[1]["parts"]["accuracy"]
    assert [(row["length_ns"], row["way"]) for row in rows] == [
        (ns, way) for ns in (5_000, 50_000, 500_000, 5_000_000) for way in ("queued", "idle")
    ]


def test_behind_a_blocker_the_simulator_is_exact(tried: tuple[Any, Any]) -> None:
    """GIVEN launches that were queued in time THEN the simulated ruler has no error."""
    rows = [row for row in tried[1]["parts"]["accuracy"] if row["way"] == "queued"]
    assert {row["absolute_error"]["max_ns"] for row in rows if row["absolute_error"]} == {0}


def test_the_loops_were_run_in_all_ways(tried: tuple[Any, Any]) -> None:
    rows = tried[1]["parts"]["overhead"]
    assert [row["mix"] for row in rows] == ["small launches", "realistic mix"]
    assert [len(row["ways"]) for row in rows] == [5, 5]


def test_a_loop_that_was_to_be_timed_was_timed(tried: tuple[Any, Any]) -> None:
    for row in tried[1]["parts"]["overhead"]:
        answers = row["answers"]["recording, every launch timed"]
        assert answers["launches_timed"] == answers["launches"] == row["launches"]


def test_tools_that_are_not_there_are_told_with_the_reason(tried: tuple[Any, Any]) -> None:
    parts = tried[1]["parts"]
    assert all("simulated" in parts[f"rival {name}"]["absent"] for name in load("rivals").NEEDS)


def test_a_counter_that_sees_nothing_proves_nothing(tried: tuple[Any, Any]) -> None:
    """GIVEN the simulator, which calls no driver THEN zero calls are not taken for zero."""
    report = tried[1]
    assert report["parts"]["syncs"]["proved"] is False
    (verdict,) = (v for v in report["verdicts"] if "synchronising" in v["must"])
    assert verdict["ok"] is None


def test_the_report_tells_where_it_comes_from(tried: tuple[Any, Any]) -> None:
    facts = tried[1]["environment"]
    assert {"date", "source", "python", "system", "cpu", "packages"} <= facts.keys()
    assert facts["source"]["commit"] is not None or facts["source"]["reason"]


def test_the_contract_tests_ran(tried: tuple[Any, Any]) -> None:
    tests = tried[1]["parts"]["tests"]
    assert tests["passed"] > 20
    assert (tests["failures"], tests["errors"]) == (0, 0)


# ---- what it refuses ----


def with_package(*folders: Path) -> dict[str, str]:
    """The neutral environment, with these folders to import from as well."""
    env = environment()
    return {**env, "PYTHONPATH": os.pathsep.join([*map(str, folders), env["PYTHONPATH"]])}


def test_without_a_gpu_nothing_is_written(tmp_path: Path) -> None:
    done = gpu_check("--out", tmp_path / "out.json")
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "Nothing was measured and nothing is written" in done.stderr


def test_a_simulation_is_no_result(tmp_path: Path) -> None:
    done = gpu_check("--simulate", "--out", ROOT / "bench" / "results" / "simulated.json")
    assert done.returncode == 3
    assert "bench/results holds measurements" in done.stderr
    assert not (ROOT / "bench" / "results" / "simulated.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--out", "nowhere/at/all.json"],
        ["--out", "x.json", "--wheels", "nowhere"],
        ["--out", "x.json", "--backend", "mock"],
    ],
)
def test_wrong_use_has_a_status_of_its_own(tmp_path: Path, arguments: list[str]) -> None:
    """GIVEN wrong use THEN the status is not that of a missing GPU."""
    paths = [str(tmp_path / word) if "json" in word else word for word in arguments]
    assert gpu_check(*paths).returncode == 3


def test_a_folder_without_wheels_says_how_to_fill_it(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    done = gpu_check(
        "--simulate", "--wheels", tmp_path / "wheels", "--scratch", tmp_path / "scratch",
        "--out", tmp_path / "out.json",
    )  # fmt: skip
    assert (done.returncode, (tmp_path / "out.json").exists()) == (3, False)
    assert "collect.py" in done.stderr


def test_what_is_missing_to_build_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparing = load("preparing")
    monkeypatch.setattr(preparing.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr(preparing.shutil, "which", lambda _name: None)
    missing = preparing.missing_tools([str(tmp_path)])
    assert [line.rpartition(": ")[2] for line in missing] == [
        "install the headers of this Python (python3-dev)", "install gcc",
        "carry its wheel along",
    ]  # fmt: skip


def test_counting_without_the_preloaded_library_is_an_error(tmp_path: Path) -> None:
    """GIVEN no counter THEN the part fails instead of reporting that nothing was called."""
    tree = load("preparing").show_bench(ROOT, tmp_path / "tree")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.gpu_check.part", "syncs", "--simulate", "--quick",
         "--out", str(tmp_path / "out.json")],
        cwd=tmp_path, env=with_package(tree), capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "count_syncs.so is not preloaded" in done.stderr


# ---- building ----


def _setuptools() -> int:
    try:
        return int(importlib.metadata.version("setuptools").partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return 0


@pytest.mark.skipif(_setuptools() < 77, reason="setuptools >= 77 is not installed")
def test_it_builds_what_it_measures_and_leaves_the_sources_as_they_were(tmp_path: Path) -> None:
    """GIVEN a source tree on a machine that has nothing installed of it."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=NOT_COPIED)
        else:
            shutil.copy(ROOT / name, tree)
    before = {path for path in tree.rglob("*") if path.suffix in {".py", ".c", ".so"}}
    done = gpu_check("--simulate", "--quick", "--out", tmp_path / "try.json", root=tree)
    assert done.returncode == 0, done.stderr
    built = tree / "build" / "gpu_check" / "built" / "lib" / "gpu_narration"
    assert list(built.glob("_core/_core*.so")) != []
    assert (built / "kernels" / "spin.cu").exists()
    after = {path for path in tree.rglob("*") if path.suffix in {".py", ".c", ".so"}}
    assert {path for path in after - before if "build" not in path.relative_to(tree).parts} == set()
