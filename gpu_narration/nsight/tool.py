"""The ``nsys`` command: where it is, which version, and what this machine denies it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_narration._errors import GpuNarrationError

#: Where NVIDIA's installers put it, beside PATH; the newest version first.
_PLACES = (
    "/opt/nvidia/nsight-systems/*/bin/nsys",
    "/opt/nvidia/nsight-systems/*/target-linux-*/nsys",
    "/opt/nvidia/nsight-systems-cli/*/bin/nsys",
    "/opt/nvidia/nsight-systems-cli/*/target-linux-*/nsys",
    "/usr/local/cuda/bin/nsys",
    "/usr/local/cuda-*/bin/nsys",
)
_VERSION = re.compile(r"version (\d+)\.(\d+)")

#: Since when a version can do what our command asks of it.
_GRAPH_NODES = (2022, 1)
_COUNTERS = (2026, 3)

_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
_DRIVER_SETTINGS = Path("/proc/driver/nvidia/params")
#: The highest ``perf_event_paranoid`` at which processes may be sampled, and the whole machine.
_PROCESS_SAMPLING, _SYSTEM_SAMPLING = 2, 0


class NsysError(GpuNarrationError):
    """Nsight Systems cannot be used, or did not do what it was asked."""

    slug = "nsys"


class NoNsysError(NsysError):
    """There is no ``nsys`` on this machine."""

    slug = "no-nsys"


@dataclass(frozen=True, slots=True)
class Nsys:
    """An installed ``nsys``.

    version: year and number, as (2024, 5); None if it does not tell.
    """

    path: Path
    version: tuple[int, int] | None

    def shortcomings(self) -> Iterator[str]:
        """What this version cannot do for a trace of ours, and what then."""
        if self.version is None:
            yield f"{self.path} does not tell its version; if it refuses an option, update it"
            return
        text = f"nsys {self.version[0]}.{self.version[1]}"
        if self.version < _GRAPH_NODES:
            yield (
                f"{text} is older than 2022.1 and may refuse --cuda-graph-trace=node; "
                "update it, or give it --cuda-graph-trace=graph"
            )
        if self.version < _COUNTERS:
            yield (
                f"{text} draws no NVTX counters, which 2026.3 and newer do; "
                "memory is in the trace: gpu-narration vram"
            )


def find_nsys() -> Nsys:
    """The ``nsys`` of PATH, else the newest where NVIDIA's installers put it.

    Raises :class:`NoNsysError` if there is none.
    """
    found = shutil.which("nsys")
    candidates = [Path(found)] if found else list(_installed())
    for candidate in candidates:
        return Nsys(candidate, _version_of(candidate))
    raise NoNsysError(
        "there is no nsys on PATH, in /opt/nvidia or in /usr/local/cuda",
        meaning="nsys is the command of NVIDIA Nsight Systems, which a CUDA toolkit or the "
        "package nsight-systems-cli installs",
        next_step="install it from https://developer.nvidia.com/nsight-systems, or add its bin "
        "directory to PATH",
    )


def denied(options: Sequence[str]) -> Iterator[str]:
    """What of these options of ``nsys profile`` this machine will refuse, and what to do."""
    if os.geteuid() == 0:
        return
    wanted = sampling_of(options)
    paranoid = _paranoid()
    if wanted is not None and paranoid is not None:
        highest = _SYSTEM_SAMPLING if wanted == "system-wide" else _PROCESS_SAMPLING
        if paranoid > highest:
            yield (
                f"sampling the CPU ({wanted}) needs kernel.perf_event_paranoid at {highest} or "
                f"lower, and it is {paranoid}: 'sudo sysctl -w kernel.perf_event_paranoid={highest}', "
                "or leave it out; CUDA and NVTX are traced all the same"
            )
    if any(option.startswith("--gpu-metrics-device") for option in options) and _counters_closed():
        yield (
            "GPU metrics are for administrators on this machine (RmProfilingAdminOnly is 1): run "
            "it as root, or load the driver with NVreg_RestrictProfilingToAdminUsers=0; "
            "CUDA and NVTX are traced all the same"
        )


def sampling_of(options: Sequence[str]) -> str | None:
    """What of the CPU these options have sampled, or None: ``process-tree``, ``system-wide``."""
    wanted = None
    for place, option in enumerate(options):
        name, equals, value = option.partition("=")
        if name in ("-s", "--sample", "--cpuctxsw"):
            if not equals:
                value = options[place + 1] if place + 1 < len(options) else ""
            if value not in ("", "none"):
                wanted = value if wanted != "system-wide" else wanted
    return wanted


def _installed() -> Iterator[Path]:
    found = {path for place in _PLACES for path in Path("/").glob(place[1:])}
    usable = [path for path in found if os.access(path, os.X_OK)]
    return iter(sorted(usable, key=_numbers, reverse=True))


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(path)))


def _version_of(path: Path) -> tuple[int, int] | None:
    try:
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        raise NsysError(
            f"{path} cannot be run: {error.strerror or error}",
            next_step="install Nsight Systems anew, or put another nsys first on PATH",
        ) from error
    match = _VERSION.search(done.stdout)
    return None if match is None else (int(match[1]), int(match[2]))


def _paranoid() -> int | None:
    try:
        return int(_PARANOID.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _counters_closed() -> bool:
    try:
        return "RmProfilingAdminOnly: 1" in _DRIVER_SETTINGS.read_text(encoding="utf-8")
    except OSError:
        return False
