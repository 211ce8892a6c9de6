"""The programs under bench/, which are part of the source tree and of no package."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from tests.support.run import TIMEOUT_S, environment

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """A module of gpu_check.  The source tree goes last: the package is imported already."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    return importlib.import_module(f"bench.gpu_check.{name}")


def gpu_check(
    *arguments: str | Path, root: Path = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m bench.gpu_check`` in a source tree, where no GPU is visible."""
    return subprocess.run(
        [sys.executable, "-m", "bench.gpu_check", *map(str, arguments)],
        cwd=root,
        env={
            **environment(), "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "",
            **(env or {}),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT_S,
        check=False,
    )  # fmt: skip
