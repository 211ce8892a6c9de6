"""The real llama-cpp-python over a real ``libllama.so``, built once and kept.

The package's own source distribution brings everything: the Python package, the C++
sources, its tests and vocabularies.  The first time takes a few minutes, nearly all of
them the compiler's; afterwards all lies under the user's cache directory, by version,
and every Python finds it there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

VERSION = "0.3.36"
_DISTRIBUTION = f"llama_cpp_python-{VERSION}"

#: Two, since a machine that tests has something else to do, too.
_JOBS = 2
_LIMIT_S = 1500

_NO_EXTRAS = [f"-DLLAMA_BUILD_{part}=OFF" for part in ("COMMON", "TOOLS", "EXAMPLES", "TESTS", "SERVER")]  # fmt: skip
_CONFIGURE = [
    "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DGGML_NATIVE=OFF",
    "-DLLAMA_CURL=OFF", *_NO_EXTRAS,
]  # fmt: skip

#: What its own tests import beside the package.
_SUITE_NEEDS = ("scipy>=1.10", "huggingface-hub>=0.23")

Say = Callable[[str], None]


@dataclass(frozen=True)
class LlamaCpp:
    """What is ready to use.

    package: directory with ``llama_cpp``, for PYTHONPATH.
    library: directory with ``libllama.so``, for LLAMA_CPP_LIB_PATH.
    sources: the unpacked source distribution; its tests expect to run here.
    """

    package: Path
    library: Path
    sources: Path

    def environment(self, *more: Path) -> dict[str, str]:
        """What a program needs that imports ``llama_cpp``; ``more`` are further directories."""
        known = os.environ.get("PYTHONPATH")
        path = [str(self.package), *map(str, more), *([known] if known else [])]
        return {"PYTHONPATH": os.pathsep.join(path), "LLAMA_CPP_LIB_PATH": str(self.library)}


def llama_cpp(say: Say) -> LlamaCpp:
    """Builds what is not there yet; skips the test where that cannot be had.

    ``say`` is told what is done and how long it took.  Raises AssertionError with the
    end of the compiler's output if it does not build.
    """
    root = _cache() / f"llama-cpp-python-{VERSION}"
    found = LlamaCpp(root / "package", root / "build" / "bin", root / _DISTRIBUTION)
    with _alone(root):
        if not (root / "ready").exists():
            _check_tools()
            began = time.monotonic()
            say(f"building llama-cpp-python {VERSION} in {root}: some minutes, the first time only")
            _unpack(root, say)
            _install(root, say)
            _build(root, found.sources, say)
            (root / "ready").touch()
            say(f"llama-cpp-python {VERSION} is ready after {time.monotonic() - began:.0f} s")
    return found


def suite_needs(say: Say) -> Path:
    """A directory for PYTHONPATH with what llama-cpp-python's own tests import."""
    root = _cache() / f"llama-cpp-python-{VERSION}"
    directory = root / f"suite-{sys.implementation.cache_tag}"
    with _alone(root):
        if not directory.exists():
            say(f"installing {' and '.join(_SUITE_NEEDS)} into {directory}")
            made = directory.with_suffix(".new")
            shutil.rmtree(made, ignore_errors=True)
            _pip("install", "--target", str(made), *_SUITE_NEEDS)
            made.rename(directory)
    return directory


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gpu_narration-tests"


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process builds; others that come meanwhile wait for it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / "lock").open("w")
    except OSError as error:
        pytest.skip(f"nothing can be kept in {root}: {error}")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_tools() -> None:
    if shutil.which(os.environ.get("CXX") or "c++") is None:
        pytest.skip("no C++ compiler here, so llama.cpp cannot be built")
    done = _run([sys.executable, "-m", "pip", "--version"])
    if done.returncode != 0:
        pytest.skip("no pip here, so llama-cpp-python cannot be had")


def _unpack(root: Path, say: Say) -> None:
    archive = root / f"{_DISTRIBUTION}.tar.gz"
    if not archive.exists():
        say("downloading its source distribution, 77 MB")
        name = "llama-cpp-python"
        _pip("download", "--no-deps", "--no-binary", name, "-d", str(root), f"{name}=={VERSION}")
    with tarfile.open(archive) as packed:
        packed.extractall(root, filter="data")


def _install(root: Path, say: Say) -> None:
    say("installing the Python package without a library, and cmake and ninja")
    for target in ("package", "tools"):
        shutil.rmtree(root / target, ignore_errors=True)
    _pip(
        "install", "--no-deps", "--target", str(root / "package"),
        str(root / f"{_DISTRIBUTION}.tar.gz"),
        env={"CMAKE_ARGS": "-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF"},
    )  # fmt: skip
    _pip("install", "--target", str(root / "tools"), "cmake>=3.21", "ninja")


def _build(root: Path, sources: Path, say: Say) -> None:
    say(f"compiling libllama.so with {_JOBS} jobs")
    tools = root / "tools"
    env = {
        "PYTHONPATH": str(tools),
        "PATH": os.pathsep.join([str(tools / "bin"), os.environ.get("PATH", os.defpath)]),
    }
    build = root / "build"
    shutil.rmtree(build, ignore_errors=True)
    cmake = str(tools / "bin" / "cmake")
    for command in (
        [cmake, "-S", str(sources / "vendor" / "llama.cpp"), "-B", str(build), *_CONFIGURE],
        [cmake, "--build", str(build), "--target", "llama", "-j", str(_JOBS)],
    ):
        done = _run(command, env)
        assert done.returncode == 0, (
            f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )


def _pip(*arguments: str, env: dict[str, str] | None = None) -> None:
    done = _run([sys.executable, "-m", "pip", *arguments], env)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        pytest.skip(f"pip {arguments[0]} did not work: {lines[0] if lines else done.returncode}")


def _run(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=_LIMIT_S,
    )  # fmt: skip
