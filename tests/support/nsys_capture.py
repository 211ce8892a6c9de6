"""The real capture of tests/data."""

from __future__ import annotations

import lzma
from pathlib import Path

_PACKED = Path(__file__).parents[1] / "data" / "nsys_h100_2gpu_1s.sqlite.xz"


def unpacked(directory: Path) -> Path:
    """The capture as a database in a directory."""
    path = directory / "h100.sqlite"
    path.write_bytes(lzma.decompress(_PACKED.read_bytes()))
    return path
