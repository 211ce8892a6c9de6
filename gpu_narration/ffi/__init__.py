"""Foreign libraries: every call entered, left, timed and marked."""

from gpu_narration._core import Address
from gpu_narration.ffi import llama
from gpu_narration.ffi.description import Function, Preset
from gpu_narration.ffi.escaped import Escaped
from gpu_narration.ffi.functions import trace_function, traced, untrace
from gpu_narration.ffi.libraries import TracedLibrary, trace_library

__all__ = [
    "Address",
    "Escaped",
    "Function",
    "Preset",
    "TracedLibrary",
    "llama",
    "trace_function",
    "trace_library",
    "traced",
    "untrace",
]
