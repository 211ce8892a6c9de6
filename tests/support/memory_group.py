"""A memory cgroup of a test's own, in which the kernel kills for want of memory."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_LIMITS = {
    Path("/sys/fs/cgroup"): "memory.max",
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
}


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """A group with a limit; its ``cgroup.procs`` takes pids.  Skips where none can be made."""
    group = _make(limit_bytes)
    try:
        yield group
    finally:
        _remove(group)


def _make(limit_bytes: int) -> Path:
    reasons = []
    for root, limit in _LIMITS.items():
        group = root / f"gpu_narration_test_{os.getpid()}"
        try:
            group.mkdir()
        except OSError as error:
            reasons.append(f"{root}: {error.strerror}")
            continue
        try:
            if not (group / limit).exists():  # no group, just a directory
                reasons.append(f"{root} has no memory controller")
            else:
                (group / limit).write_text(str(limit_bytes))
                return group
        except OSError as error:
            reasons.append(f"{root}: {error.strerror}")
        group.rmdir()
    pytest.skip(f"no memory cgroup can be made here ({'; '.join(reasons)})")


def _remove(group: Path) -> None:
    for _ in range(100):  # its last process may still be on its way out
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)
    group.rmdir()
