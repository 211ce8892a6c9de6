"""A libllama for ourselves: its functions as the binding declares them, never traced."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from gpu_narration.ffi.llama.counters import Counters
from gpu_narration.ffi.llama.logs import Logs

#: What a binding may not have declared, and cannot be declared wrongly: no structures.
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "llama_synchronize": (None, [ctypes.c_void_p]),
    "llama_n_ctx": (ctypes.c_uint32, [ctypes.c_void_p]),
    "llama_model_size": (ctypes.c_uint64, [ctypes.c_void_p]),
    "llama_model_n_params": (ctypes.c_uint64, [ctypes.c_void_p]),
    "llama_model_n_layer": (ctypes.c_int32, [ctypes.c_void_p]),
    "llama_model_desc": (ctypes.c_int32, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
    "llama_supports_gpu_offload": (ctypes.c_bool, []),
}


class Library:
    """What the preset knows of one library.

    logs: its log; counters: its performance counters.
    """

    def __init__(self, lib: ctypes.CDLL, module: ModuleType | None) -> None:
        self.name = str(lib._name)
        self._lib = lib
        self._module = module
        self._own = ctypes.CDLL(lib._name, handle=lib._handle)
        # For calls too short to let the GIL go.
        self._quick = ctypes.PyDLL(lib._name, handle=lib._handle)
        self.logs = Logs(self._own)
        self.counters = Counters(
            self.declared("llama_perf_context") or self.declared("llama_get_timings")
        )

    def is_same_file(self, other: Library) -> bool:
        """Whether both are one library for the dynamic linker."""
        return bool(self._lib._handle == other._lib._handle)

    def function(self, name: str, *, waits: bool = False) -> Callable[..., Any] | None:
        """A function of the library; None if it has none of that name.  ``waits``: it may
        take long, and lets the GIL go.
        """
        restype, argtypes = _PROTOTYPES[name]
        function: Any = getattr(self._own if waits else self._quick, name, None)
        if function is None:
            return None
        function.restype, function.argtypes = restype, argtypes
        return function  # type: ignore[no-any-return]

    def declared(self, name: str) -> Callable[..., Any] | None:
        """A function with the types that the binding declares; None where it does not."""
        known = self._lib.__dict__.get(name)
        if known is None or known.argtypes is None:
            return None
        function: Any = getattr(self._quick, name, None)
        if function is None:
            return None
        function.restype, function.argtypes = known.restype, known.argtypes
        return function  # type: ignore[no-any-return]

    def argtypes(self, name: str) -> Any:
        """The argument types that the binding declares; None where it does not."""
        return getattr(self._lib.__dict__.get(name), "argtypes", None)

    def parameters(self, name: str) -> tuple[str, ...]:
        """The names of a function's parameters, as far as the binding's stubs tell them."""
        stub = getattr(self._lib.__dict__.get(name), "__wrapped__", None)
        if stub is None:
            return ()
        try:
            return tuple(inspect.signature(stub).parameters)
        except (TypeError, ValueError):
            return ()
