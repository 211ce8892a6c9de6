"""The types that users see, as mypy --strict sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_public_api_has_the_types_it_promises(tmp_path: Path) -> None:
    """GIVEN asserted types and calls that must be refused THEN mypy agrees with every line."""
    pytest.importorskip("mypy", reason="mypy comes with the dev extra")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "tests/typing/api.py"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
