"""What there is on a machine: each look is one function and gives one or more findings."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gpu_narration import _core
from gpu_narration._errors import BackendUnavailableError
from gpu_narration._version import __version__
from gpu_narration.cuda import ranges
from gpu_narration.cuda.backend import Device, NoBackend, auto, choose
from gpu_narration.cuda.counters import FIRST_VIEWER, FIRST_WITH_COUNTERS
from gpu_narration.cuda.driver_backend import DriverBackend
from gpu_narration.cuda.libcuda import VISIBLE_VARIABLE, DriverUnavailableError, version_text
from gpu_narration.cuda.nvml import Nvml, NvmlUnavailable
from gpu_narration.cuda.visible import ORDER_VARIABLE

#: Bindings of libllama that are known to work with ffi.trace_library.
_LLAMA_PACKAGES = {
    "llama_cpp": "llama-cpp-python",
    "ik_llama_cpp": "ik-llama-cpp-python",
}


#: How long NVML may take to answer everything.
NVML_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.  ``essential``: without it nothing can be recorded."""

    subject: str
    ok: bool
    found: str
    todo: str = ""
    essential: bool = False

    def as_object(self) -> dict[str, object]:
        return {
            "subject": self.subject, "ok": self.ok, "found": self.found, "todo": self.todo or None,
            "essential": self.essential,
        }  # fmt: skip


def examine() -> list[Finding]:
    """Looks at everything; a look that fails is a finding itself."""
    findings: list[Finding] = []
    for look in _LOOKS:
        try:
            findings += look()
        except Exception as error:  # noqa: BLE001 - the report must come out whole
            findings.append(Finding(look.__name__.strip("_"), False, f"could not look: {error!r}"))
    return findings


def _package() -> Iterator[Finding]:
    yield Finding(
        "gpu_narration",
        True,
        f"{__version__}, trace format {_core.FORMAT_VERSION}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}",
    )


def _recording() -> Iterator[Finding]:
    """A real recording of two events, read back."""
    from gpu_narration import recorder
    from gpu_narration.tracefile import Trace

    if _core.stats() is not None:
        yield Finding("recording", True, "a recording is running", essential=True)
        return
    with tempfile.TemporaryDirectory() as directory:
        with recorder.start(
            f"{directory}/doctor.gnt", backend="none", vram=False, nvtx="off", children=False
        ):
            _core.trace_tiny("doctor", "look", "", "{}", 1)
            clock = _core.clock_source()
            _core.trace_tiny("doctor", "look", "", "{}", 2)
        count = sum(1 for _ in Trace(f"{directory}/doctor.gnt").events())
    yield Finding(
        "recording", count == 2, f"{count} of 2 test events came back", essential=True,
        todo="" if count == 2 else "report this as a bug",
    )  # fmt: skip
    counter = clock != "monotonic"
    yield Finding(
        "clock",
        counter,
        f"{clock}: {'the CPU counter' if counter else 'clock_gettime'}",
        "" if counter else "nothing: the counter is not steady here, events cost some 40 ns more",
    )


def _driver() -> Iterator[Finding]:
    """The driver's version and devices; initialises CUDA, which a recording never does."""
    try:
        backend = DriverBackend(initialise=True)
    except DriverUnavailableError as reason:
        todo = f"{reason.next_step}; or simulate a GPU with backend='mock'"
        yield Finding("CUDA driver", False, str(reason), todo)
        return
    visible = os.environ.get(VISIBLE_VARIABLE)
    yield Finding(
        "CUDA driver", True, f"supports CUDA {version_text(backend.version)}"
        + (f"; {VISIBLE_VARIABLE}={visible}" if visible is not None else ""),
    )  # fmt: skip
    for device in backend.devices():
        yield Finding(
            f"cuda:{device.index}", True, f"{device.uuid} {device.name} at {device.pci_bus_id}"
        )


def _nvml() -> Iterator[Finding]:
    """NVML and the devices it shows, on a thread of its own: its calls may hang."""
    found: list[Finding] = []
    thread = threading.Thread(target=lambda: found.extend(_ask_nvml()), daemon=True)
    thread.start()
    thread.join(NVML_PATIENCE_S)
    if thread.is_alive():
        yield Finding(
            "NVML", False, f"did not answer within {NVML_PATIENCE_S:.0f} s",
            "see whether nvidia-smi hangs too; a recording goes on without it",
        )  # fmt: skip
    yield from found


def _ask_nvml() -> Iterator[Finding]:
    try:
        nvml = Nvml()
    except NvmlUnavailable as reason:
        yield Finding(
            "NVML", False, str(reason),
            "install the NVIDIA driver (in a container: the runtime option for GPUs); "
            "without NVML no VRAM is watched",
        )  # fmt: skip
        return
    in_order = nvml.order == "CUDA"
    yield Finding(
        "NVML", True, f"driver {nvml.driver_version()}; devices are counted "
        + ("as CUDA counts them" if in_order else "by PCI bus, until a program initialises CUDA"),
        "" if in_order else f"{ORDER_VARIABLE}=PCI_BUS_ID makes CUDA count the same way",
    )  # fmt: skip
    for place, device in enumerate(nvml.devices):
        yield _memory(nvml, place, device)


def _memory(nvml: Nvml, place: int, device: Device) -> Finding:
    """What can be read of one device."""
    name = f"{device.uuid} {device.name} at {device.pci_bus_id}"
    if nvml.parent(place) is not None:
        name += f", an instance of {nvml.parent(place)}"
    try:
        memory = nvml.memory_info(place)
    except NvmlUnavailable as reason:
        return Finding(f"gpu{device.index}", False, f"{name}: {reason}", "check it with nvidia-smi")
    own = nvml.process_share(place)
    share = "are told apart" if own.bytes is not None else f"are not told apart: {own.reason}"
    return Finding(
        f"gpu{device.index}", True, f"{name}, {memory.used_bytes >> 20} of "
        f"{memory.total_bytes >> 20} MiB used (memory v{nvml.memory_version(place)}); "
        f"processes {share}",
    )  # fmt: skip


def _cupy() -> Iterator[Finding]:
    version = _version("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy")
    if importlib.util.find_spec("cupy") is None:
        yield Finding(
            "CuPy", False, "not installed", "pip install 'gpu-narration[cuda13]' (or cuda12)"
        )
        return
    try:
        choose("cupy")
    except BackendUnavailableError as error:
        yield Finding("CuPy", False, f"{version}: {error.problem}", "check the driver's version")
        return
    yield Finding("CuPy", True, version)


def _backend() -> Iterator[Finding]:
    """What auto picks in a program that has loaded CuPy, and in one that has not."""
    picked = auto(cupy_loaded=False, initialise=True)
    if isinstance(picked, NoBackend):
        yield Finding(
            "backend auto", False, f"none: {picked.reason}",
            "GPU time is None with that reason; backend='mock' simulates, and says so",
        )  # fmt: skip
        return
    why = "the driver works, with the streams of any framework"
    with_cupy = auto(cupy_loaded=True, initialise=True)
    if not isinstance(with_cupy, NoBackend) and with_cupy.name != picked.name:
        why += f"; {with_cupy.name} in a program that has loaded CuPy"
    yield Finding("backend auto", True, f"{picked.name}: {why}")


def _nvtx() -> Iterator[Finding]:
    version = _version("nvtx")
    injected = next((name for name in ranges.ATTACHED_VARIABLES if os.environ.get(name)), None)
    if injected is None:
        yield Finding(
            "NVTX", True, f"nvtx {version}; no tool is attached to this process",
            "run under a tool to see ranges: nsys profile -t cuda,nvtx gpu-narration run app.py",
        )  # fmt: skip
        return
    attached = ranges.attach() is not None
    yield Finding(
        "NVTX", attached, f"nvtx {version}; {injected}={os.environ[injected]}, "
        + ("a tool listens" if attached else "but no tool answers"),
        "" if attached else "check that the path names a library of the tool",
    )  # fmt: skip


def _nsight() -> Iterator[Finding]:
    for name, what in (("nsys", "Nsight Systems"), ("ncu", "Nsight Compute")):
        path = shutil.which(name)
        if path is None:
            yield Finding(
                what, False, f"{name} is not on PATH", f"install {what} to profile with it"
            )
            continue
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
        lines = (answer.stdout or answer.stderr).strip().splitlines()
        yield Finding(what, answer.returncode == 0, lines[-1] if lines else path)


def _counters() -> Iterator[Finding]:
    """Whether a tool gets VRAM, and whether the one that is here draws it."""
    import nvtx

    subject, viewer = "NVTX counters", ".".join(map(str, FIRST_VIEWER))
    if not hasattr(nvtx, "CounterSemantics"):
        yield Finding(
            subject, False, f"nvtx {_version('nvtx')} has none: VRAM is not drawn in Nsight",
            f"pip install 'nvtx>={FIRST_WITH_COUNTERS}'",
        )  # fmt: skip
        return
    version = _nsys_version()
    if version is None:
        yield Finding(subject, True, f"VRAM is drawn by Nsight Systems {viewer} and newer")
    elif version < FIRST_VIEWER:
        yield Finding(
            subject, False, f"Nsight Systems {version[0]}.{version[1]} opens our reports and "
            "draws no VRAM",
            f"open them in Nsight Systems {viewer} or newer",
        )  # fmt: skip
    else:
        yield Finding(subject, True, f"Nsight Systems {version[0]}.{version[1]} draws VRAM")


def _nsys_version() -> tuple[int, int] | None:
    path = shutil.which("nsys")
    if path is None:
        return None
    answer = subprocess.run(
        [path, "--version"], capture_output=True, text=True, timeout=20, check=False
    )
    found = re.search(r"\b(20[0-9]{2})\.([0-9]+)\b", answer.stdout)
    return None if found is None else (int(found[1]), int(found[2]))


def _llama() -> Iterator[Finding]:
    found = False
    for module, distribution in _LLAMA_PACKAGES.items():
        if importlib.util.find_spec(module) is not None:
            found = True
            yield Finding("llama", True, f"{distribution} {_version(distribution)}")
    if not found:
        yield Finding(
            "llama", False, "no ctypes binding of libllama is installed",
            "pip install 'gpu-narration[demo]' for a small engine, or llama-cpp-python",
        )  # fmt: skip


def _version(*distributions: str) -> str:
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"


_LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _package, _recording, _driver, _nvml, _cupy, _backend, _nvtx, _nsight, _counters, _llama,
)  # fmt: skip
