"""What a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import gpu_narration


def facts(**more: object) -> dict[str, object]:
    """Of this machine and this process; `more` is what the program adds."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "compiler": platform.python_compiler(),
        "gpu_narration": gpu_narration.__version__,
        "load": round(os.getloadavg()[0], 1),
        **more,
    }


def line(machine: dict[str, object]) -> str:
    return " · ".join(f"{name} {value}" for name, value in machine.items())


def version(package: str) -> str | None:
    """The version that is installed, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
