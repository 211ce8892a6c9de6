"""Everything before the measuring: a GPU, the tools to build with, the wheels, the build.

Only the standard library is used here: nothing is installed yet.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

#: The oldest setuptools that reads pyproject.toml's licence as it is written.
SETUPTOOLS = 77

#: What is installed from the wheels, by CUDA's major version; collect.py fetches the same.
COMMON = (
    "click", "hypothesis", "nvidia-ml-py", "nvtx", "pytest", "pytest-benchmark", "pytest-timeout",
    "rich", f"setuptools>={SETUPTOOLS}",
)  # fmt: skip
FOR_CUDA = {
    12: ("cupy-cuda12x", "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-runtime-cu12"),
    13: ("cupy-cuda13x", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime"),
}
#: Installed if their wheels were carried along.
OPTIONAL = ("torch", "cupti-python")


class CannotPrepareError(Exception):
    """Something is missing on this machine; the message says what, and what to do."""


def cuda_of_driver() -> int | str:
    """The major version of CUDA that the driver supports, or why there is no GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "libcuda.so.1 is not on this machine: there is no NVIDIA driver"
    status = driver.cuInit(0)
    if status != 0:
        return f"cuInit returned {status}: the driver finds no usable GPU"
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value == 0:
        return f"the driver shows no device (cuDeviceGetCount: {status}, {count.value} devices)"
    driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000


def missing_tools(path: list[str]) -> list[str]:
    """What is needed to build and is not here, each with what to do.

    ``path`` are the folders that packages come from.
    """
    missing = []
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        missing.append(f"{header}: install the headers of this Python (python3-dev)")
    if compiler() is None:
        missing.append("no C compiler: install gcc")
    version = _setuptools(path)
    if version is None or version < SETUPTOOLS:
        found = "none" if version is None else f"version {version}"
        missing.append(f"setuptools >= {SETUPTOOLS} ({found} found): carry its wheel along")
    return missing


def compiler() -> str | None:
    return next((path for name in ("gcc", "cc", "clang") if (path := shutil.which(name))), None)


def _setuptools(path: list[str]) -> int | None:
    from importlib.metadata import distributions

    for distribution in distributions(name="setuptools", path=path):
        return int(distribution.version.partition(".")[0])
    return None


def install(wheels: Path, cuda: int, target: Path) -> None:
    """Installs from a folder of wheels into ``target``, with no network; once a folder.

    ``wheels`` is what collect.py filled: a folder for each CUDA, or one of them.
    """
    folder = next(
        (found for major in (cuda, 12) if (found := wheels / f"cuda{major}").is_dir()), wheels
    )
    names = sorted(file.name for file in folder.glob("*.whl"))
    if not names:
        raise CannotPrepareError(
            f"there are no wheels in {folder}; collect them on a machine with a network: "
            f"python bench/gpu_check/collect.py {wheels}"
        )
    stamp, state = target / ".installed", hashlib.sha256("\n".join(names).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == state:
        return
    shutil.rmtree(target, ignore_errors=True)
    carried = {name.partition("-")[0].replace("_", "-").lower() for name in names}
    major = 13 if "cupy-cuda13x" in carried else 12
    wanted = [*COMMON, *FOR_CUDA[major], *(name for name in OPTIONAL if name in carried)]
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--root-user-action=ignore", "--no-index", "--find-links", str(folder), "--target", str(target), *wanted,
    ]  # fmt: skip
    if subprocess.run(command, check=False).returncode != 0:
        raise CannotPrepareError(
            f"the wheels in {folder} cannot be installed for Python "
            f"{sys.version_info.major}.{sys.version_info.minor}; pip says why above"
        )
    stamp.write_text(state)


def build(root: Path, target: Path, env: Mapping[str, str]) -> None:
    """Compiles the C core and lays the package out in ``target``.

    Not inside the source tree: the kernels lie beside the package there and would not
    be found, and the tree stays as it was.
    """
    shutil.rmtree(target, ignore_errors=True)
    command = [
        sys.executable, "setup.py", "--quiet", "build", "--build-base", str(target / "objects"),
        "--build-lib", str(target / "lib"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotPrepareError(f"the C core does not build:\n{done.stdout}{done.stderr}".rstrip())


def show_bench(root: Path, target: Path) -> Path:
    """A folder from which ``bench`` can be imported, and nothing else of the source tree:
    the package that is measured must not be shadowed by its sources.
    """
    target.mkdir(parents=True, exist_ok=True)
    link = target / "bench"
    if not link.is_symlink() or link.readlink() != root / "bench":
        link.unlink(missing_ok=True)
        link.symlink_to(root / "bench")
    return target


def build_counter(target: Path) -> Path:
    """Compiles count_syncs.c; the library to preload."""
    found = compiler()
    if found is None:
        raise CannotPrepareError("no C compiler: install gcc")
    source, library = Path(__file__).with_name("count_syncs.c"), target / "count_syncs.so"
    command = [
        found, "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden",
        "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-pthread",
    ]  # fmt: skip
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotPrepareError(f"count_syncs.c does not build:\n{done.stderr}".rstrip())
    return library


def run_tests(root: Path, report: Path, env: Mapping[str, str]) -> dict[str, object]:
    """Runs the contract tests and those for a GPU; how many of them ended how."""
    folders = [name for name in ("tests/contract", "tests/gpu") if (root / name).is_dir()]
    command = [
        sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider",
        f"--junitxml={report}", *folders,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=root, env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not report.exists():
        return {
            "failed": f"pytest ended with {done.returncode}: {done.stdout}{done.stderr}"[-4000:]
        }
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    because: dict[str, int] = {}
    for suite in ET.parse(report).getroot().iter("testsuite"):
        for name in counts:
            counts[name] += int(suite.get(name, 0))
        for skip in suite.iter("skipped"):
            reason = skip.get("message", "no reason given")
            because[reason] = because.get(reason, 0) + 1
    return {
        "folders": folders,
        "passed": counts["tests"] - sum(counts[n] for n in ("failures", "errors", "skipped")),
        **counts,
        "skipped_because": because,
        "exit_status": done.returncode,
        "last_lines": done.stdout.splitlines()[-12:],
    }


def environment(*folders: Path) -> dict[str, str]:
    """This environment, with packages from these folders first and nothing that steers us."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("GPU_NARRATION")
    }
    path = [str(folder) for folder in folders]
    env["PYTHONPATH"] = os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])])
    return env
