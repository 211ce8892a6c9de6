"""Foreign libraries: every call entered, left, timed and marked."""

from gpu_narration.ffi import llama
from gpu_narration.ffi.ctypes_calls import TracedLibrary, trace_library
from gpu_narration.ffi.description import Function, Preset

__all__ = ["Function", "Preset", "TracedLibrary", "llama", "trace_library"]
