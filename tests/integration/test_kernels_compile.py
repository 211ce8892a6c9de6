"""Every kernel compiles, with NVRTC and with nvcc, to an entry of the shape that is catalogued.

No GPU is needed.  A compiler's warning is a failure, as an error is.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import re
import shutil
import subprocess

import pytest

from gpu_narration import kernels

NAMES = sorted(kernels.catalogue())

#: Turing; a compiler that has dropped it compiles for the oldest that it knows.
ARCHITECTURE = 75

#: PTX types of the parameters' C types.
PTX_TYPES = {"unsigned long long": "u64", "float": "f32"}

NVRTC_WHEEL = "nvidia-cuda-nvrtc"


@functools.cache
def nvrtc_wheel():
    """The installed wheel, or None.  A wheel without its library is no reason to skip."""
    try:
        return importlib.metadata.distribution(NVRTC_WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return None


needs_nvrtc = pytest.mark.skipif(
    nvrtc_wheel() is None, reason=f"the wheel {NVRTC_WHEEL} is not installed"
)
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")


def choose(architectures):
    return ARCHITECTURE if ARCHITECTURE in architectures else min(architectures)


class Nvrtc:
    """The few calls of NVRTC that a compilation takes; every one is checked."""

    def __init__(self):
        [library] = [f for f in nvrtc_wheel().files if re.fullmatch(r"libnvrtc\.so\.\d+", f.name)]
        self.library = ctypes.CDLL(str(library.locate()))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(self, function, *args):
        code = getattr(self.library, function)(*args)
        if code != 0:
            raise RuntimeError(f"{function}: {self.library.nvrtcGetErrorString(code).decode()}")

    def architecture(self):
        count = ctypes.c_int()
        self.call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        supported = (ctypes.c_int * count.value)()
        self.call("nvrtcGetSupportedArchs", supported)
        return choose(supported)

    def compile(self, text, file, target, output):
        """(output, log): what `nvrtcGet<output>` gives, and None of it where that failed."""
        program = ctypes.c_void_p()
        self.call(
            "nvrtcCreateProgram",
            ctypes.byref(program), text.encode(), file.encode(), 0, None, None,
        )  # fmt: skip
        try:
            options = (ctypes.c_char_p * 1)(f"--gpu-architecture={target}".encode())
            failed = self.library.nvrtcCompileProgram(program, len(options), options)
            log = self.fetch(program, "ProgramLog").rstrip(b"\0").decode()
            return None if failed else self.fetch(program, output), log
        finally:
            self.call("nvrtcDestroyProgram", ctypes.byref(program))

    def fetch(self, program, what):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw


@pytest.fixture(scope="module")
def nvrtc():
    return Nvrtc()


@pytest.fixture(scope="module")
def nvrtc_ptx(nvrtc):
    """Compiles a kernel of the catalogue with NVRTC; its PTX."""

    @functools.cache
    def compiled(name):
        target = f"compute_{nvrtc.architecture()}"
        file = kernels.catalogue()[name].file
        ptx, log = nvrtc.compile(kernels.source(name), file, target, "PTX")
        assert ptx is not None, log
        return ptx.rstrip(b"\0").decode()

    return compiled


@pytest.fixture(scope="module")
def nvcc_ptx(tmp_path_factory):
    """Compiles a kernel of the catalogue with nvcc; its PTX."""
    listed = subprocess.run(["nvcc", "--list-gpu-arch"], capture_output=True, check=True, text=True)
    known = [int(number) for number in re.findall(r"compute_(\d+)", listed.stdout)]
    target = f"compute_{choose(known)}"

    @functools.cache
    def compiled(name):
        folder = tmp_path_factory.mktemp(name)
        source = folder / kernels.catalogue()[name].file
        source.write_text(kernels.source(name), encoding="utf-8")
        output = source.with_suffix(".ptx")
        ran = subprocess.run(
            ["nvcc", "--ptx", "-arch", target, "--Werror", "all-warnings", "-o", output, source],
            capture_output=True, check=False, text=True,
        )  # fmt: skip
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        return output.read_text(encoding="utf-8")

    return compiled


def entries(ptx):
    """The kernels of a PTX text: name -> the types of its parameters."""
    found = re.findall(r"\.visible \.entry (\w+)\(([^)]*)\)", ptx)
    return {name: re.findall(r"\.param \.(?:align \d+ \.)?(\w+)", text) for name, text in found}


def expected_entry(name):
    spec = kernels.catalogue()[name]
    # A pointer is an address, 64 bits wide.
    return {spec.function: [PTX_TYPES.get(p.type, "u64") for p in spec.parameters]}


@needs_nvrtc
@pytest.mark.parametrize("name", NAMES)
def test_nvrtc_makes_the_catalogued_entry(nvrtc_ptx, name):
    """GIVEN a source WHEN NVRTC compiles it THEN the PTX has that entry and those parameters."""
    assert entries(nvrtc_ptx(name)) == expected_entry(name)


@needs_nvrtc
@pytest.mark.parametrize("name", NAMES)
def test_nvrtc_has_no_warning_for_a_kernel(nvrtc, name):
    """GIVEN a source WHEN NVRTC compiles it THEN its log is empty."""
    target = f"compute_{nvrtc.architecture()}"

    _, log = nvrtc.compile(kernels.source(name), kernels.catalogue()[name].file, target, "PTX")

    assert log == ""


@needs_nvrtc
@pytest.mark.parametrize("name", NAMES)
def test_nvrtc_assembles_a_kernel_to_machine_code(nvrtc, name):
    """GIVEN a source WHEN NVRTC goes on to machine code THEN its PTX, inline too, assembles."""
    target = f"sm_{nvrtc.architecture()}"

    code, log = nvrtc.compile(kernels.source(name), kernels.catalogue()[name].file, target, "CUBIN")

    assert (code or b"")[:4] == b"\x7fELF", log


@needs_nvrtc
def test_nvrtcs_log_tells_what_is_wrong_with_a_broken_kernel(nvrtc):
    """GIVEN a source with an unknown name WHEN NVRTC compiles it THEN the log names it."""
    broken = kernels.source("saxpy").replace("a * x[i]", "a * no_such_array[i]")

    _, log = nvrtc.compile(broken, "saxpy.cu", f"compute_{nvrtc.architecture()}", "PTX")

    assert 'identifier "no_such_array" is undefined' in log


@needs_nvcc
@pytest.mark.parametrize("name", NAMES)
def test_nvcc_makes_the_catalogued_entry_without_a_warning(nvcc_ptx, name):
    """GIVEN a source WHEN nvcc compiles it THEN the PTX has that entry and those parameters."""
    assert entries(nvcc_ptx(name)) == expected_entry(name)
