"""What the figures were measured on: machine, driver, packages, source."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "gpu-narration", "cupy-cuda12x", "cupy-cuda13x", "numpy", "nvtx", "nvidia-ml-py",
    "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-runtime",
    "nvidia-cuda-runtime-cu12", "cuda-bindings", "cupti-python", "torch", "pytest",
)  # fmt: skip


def facts(root: Path, where: list[str]) -> dict[str, object]:
    """Everything but the device; ``where`` are the folders that packages come from."""
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "source": _source(root),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "c_library": " ".join(platform.libc_ver()),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "packages": _packages(where),
    }


def driver(uuid: str | None) -> dict[str, Any]:
    """Driver and state of a GPU by NVML, which counts devices in another order than CUDA
    does; a reason where it cannot be asked.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except Exception as error:  # noqa: BLE001 - absent, too old, no permission: all are a reason
        return {"unknown": f"{type(error).__name__}: {error}"}
    asked = {
        "driver": pynvml.nvmlSystemGetDriverVersion,
        "nvml_device": lambda: pynvml.nvmlDeviceGetName(handle),
        "sm_clock_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        "max_sm_clock_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
        "temperature_c": lambda: pynvml.nvmlDeviceGetTemperature(handle, 0),
        "power_limit_mw": lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle),
        "persistence": lambda: bool(pynvml.nvmlDeviceGetPersistenceMode(handle)),
        "utilisation_percent": lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
    }
    found: dict[str, Any] = {}
    for name, ask in asked.items():
        try:
            value = ask()
        except pynvml.NVMLError as error:
            value = None
            found[f"{name}_reason"] = str(error)
        found[name] = value.decode() if isinstance(value, bytes) else value
    pynvml.nvmlShutdown()
    return found


def _source(root: Path) -> dict[str, object]:
    """The commit, and whether the tree is as committed; None with a reason without git."""
    if not (root / ".git").exists():
        return {"commit": None, "reason": "the source tree is no git checkout"}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "as_committed": not _git(root, "status", "--porcelain")}
    except (OSError, subprocess.CalledProcessError) as error:
        return {"commit": None, "reason": f"git: {error}"}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _packages(where: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=where):
        name = distribution.metadata["Name"].lower().replace("_", "-")
        if name in PACKAGES:
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items()))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
