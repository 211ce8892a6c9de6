"""Running a program in a process of its own.

Needed wherever something must be in place before the first call: an NVTX tool, a
library on ``LD_LIBRARY_PATH``, a variable that is read once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

import gpu_narration

TIMEOUT_S = 120.0

#: Set by whoever runs the tests, and not meant for the programs in them.
_FOREIGN_PREFIXES = (
    "GPU_NARRATION", "NVTX_", "FAKE_", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
)  # fmt: skip


def run_python(
    program: str | Path,
    *args: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs a snippet (str) or a file (Path) with this interpreter.

    cwd: default a temporary directory that is gone afterwards.
    env: added to this process's environment, from which all that steers
        gpu_narration, NVTX and CUDA was taken out.
    check: AssertionError with everything the program printed if it fails.

    Our own failures end the program (``GPU_NARRATION_RAISE_INTERNAL``), so that
    none of them is contained unseen.
    """
    command = [sys.executable]
    command += [str(program)] if isinstance(program, Path) else ["-c", textwrap.dedent(program)]
    with tempfile.TemporaryDirectory() as temporary:
        done = subprocess.run(
            [*command, *args],
            cwd=cwd or temporary,
            env={**environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    if check and done.returncode != 0:
        raise AssertionError(
            f"exit status {done.returncode}\n--- stdout\n{done.stdout}--- stderr\n{done.stderr}"
        )
    return done


def environment() -> dict[str, str]:
    """This process's environment, made neutral, with the tested package importable."""
    neutral = {
        name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)
    }
    package_parent = str(Path(gpu_narration.__file__).resolve().parents[1])
    neutral["PYTHONPATH"] = os.pathsep.join(
        part for part in (package_parent, neutral.get("PYTHONPATH")) if part
    )
    neutral["GPU_NARRATION_RAISE_INTERNAL"] = "1"
    return neutral
