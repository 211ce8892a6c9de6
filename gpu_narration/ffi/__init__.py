"""Foreign libraries: every call entered, left, timed and marked."""

from gpu_narration.ffi.ctypes_calls import TracedLibrary, trace_library

__all__ = ["TracedLibrary", "trace_library"]
