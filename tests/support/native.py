"""Builds the C libraries under tests/native that tests load into other processes.

Each is built once and kept under the system's temporary directory, keyed by
everything that goes into it, so later runs and parallel ones find it ready.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[1] / "native"

FLAGS = (
    "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-fPIC", "-shared", "-pthread",
    "-fvisibility=hidden", "-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Werror",
)  # fmt: skip

NVTX_PACKAGE = "nvidia-nvtx"


def nvtx_tool() -> Path:
    """The library to name in ``NVTX_INJECTION64_PATH``; see nvtx_tool.c for its log."""
    headers, version = _nvtx_headers()
    # -isystem: a warning in a header of NVIDIA's is none of ours.
    return build(
        NATIVE / "nvtx_tool" / "nvtx_tool.c",
        "libnvtx_tool.so",
        flags=("-isystem", str(headers)),
        versions=(version,),
    )


def fake_nvml() -> Path:
    """The directory to put on ``LD_LIBRARY_PATH``; see fake_nvml.h for its script."""
    directory = NATIVE / "fake_nvml"
    first, *others = sorted(directory.glob("*.c"))
    return build(first, "libnvidia-ml.so.1", others=(*others, directory / "fake_nvml.h")).parent


def fake_cuda(*flags: str) -> Path:
    """A ``libcuda.so.1`` to load, or whose directory to put on ``LD_LIBRARY_PATH``.

    ``flags`` choose one that lacks functions; see fake_cuda.h.
    """
    directory = NATIVE / "fake_cuda"
    first, *others = sorted(directory.glob("*.c"))
    return build(
        first,
        "libcuda.so.1",
        # No soname: this process may look for the real one by that name afterwards.
        flags=tuple(f"-D{flag}" for flag in flags),
        others=(*others, directory / "fake_cuda.h"),
    )


def fake_cudart() -> Path:
    """A ``libcudart.so.12`` to load: memory on the host, and errors."""
    return build(NATIVE / "fake_cudart" / "fake_cudart.c", "libcudart.so.12")


def build(
    source: Path,
    name: str,
    *,
    flags: tuple[str, ...] = (),
    versions: tuple[str, ...] = (),
    others: tuple[Path, ...] = (),
) -> Path:
    """The shared library ``name`` made of ``source``; skips the test where there is no compiler.

    ``others`` are further sources and headers of it, ``versions`` what the result
    depends on beside all that.
    Raises AssertionError with the compiler's messages if it does not build.
    """
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    command = [compiler, *FLAGS, *flags]
    key = hashlib.sha256(source.read_bytes())
    for other in others:
        key.update(b"\0" + other.read_bytes())
    for part in (*command, _compiler_version(compiler), *versions):
        key.update(b"\0" + part.encode())
    directory = _cache() / key.hexdigest()[:32]
    library = directory / name
    if not library.exists():
        directory.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            made = Path(scratch) / name
            compiled = [source, *(other for other in others if other.suffix == ".c")]
            _run([*command, *map(str, compiled), "-o", str(made)])
            made.replace(library)  # atomic: who builds at the same time makes the same file
    return library


def _cache() -> Path:
    directory = Path(tempfile.gettempdir()) / f"gpu_narration-tests-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.stat()
    # What lies here gets loaded: nobody else may have made it.
    assert found.st_uid == os.getuid(), f"{directory} is not ours"
    assert not found.st_mode & 0o022, f"{directory} can be written by others"
    return directory


def _compiler_version(compiler: str) -> str:
    return _run([compiler, "--version"]).partition("\n")[0]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return done.stdout


def _nvtx_headers() -> tuple[Path, str]:
    """The directory that holds ``nvtx3/``, and the version of the headers."""
    try:
        package = importlib.metadata.distribution(NVTX_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{NVTX_PACKAGE} is not installed")
    for file in package.files or ():
        if file.parts[-2:] == ("nvtx3", "nvToolsExt.h"):
            return Path(str(package.locate_file(file))).parents[1], package.version
    raise AssertionError(f"{NVTX_PACKAGE} {package.version} has no nvtx3/nvToolsExt.h")
