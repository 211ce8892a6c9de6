"""Building the small C library that the tests of ffi call."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("sample.c")


def build_sample(directory: Path) -> Path:
    """Builds the library in a directory; skips the test where nothing can build it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the sample library with")
    path = directory / "libsample.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-pthread", "-o", path, SOURCE], check=True
    )
    return path
