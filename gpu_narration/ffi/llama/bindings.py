"""Which libraries are traced: those of known bindings, as they are imported, and given ones."""

from __future__ import annotations

import atexit
import ctypes
import sys
from collections.abc import Iterable
from types import ModuleType, TracebackType
from typing import Any, Self

from gpu_narration._errors import internal_error
from gpu_narration.ffi.libraries import TracedLibrary, trace_library
from gpu_narration.ffi.llama.imports import Watch
from gpu_narration.ffi.llama.library import Library
from gpu_narration.ffi.llama.preset import describe

#: Modules that load a libllama, and what they call it.
KNOWN = {"llama_cpp.llama_cpp": "_lib", "ik_llama_cpp._ctypes_api": "_lib"}


class Installed:
    """What is traced now; leaving it as a context manager uninstalls."""

    def __init__(self) -> None:
        self._traced: dict[int, tuple[Library, TracedLibrary]] = {}
        self._watch = Watch(tuple(KNOWN), self._imported)
        self._log: bool | None = None
        self._synchronize = False
        self._installed = False

    @property
    def libraries(self) -> list[str]:
        """The files of the libraries that are traced."""
        return list(dict.fromkeys(library.name for library, _ in self._traced.values()))

    def install(
        self, libraries: Iterable[ctypes.CDLL], *, log: bool | None, synchronize: bool
    ) -> Self:
        given = list(libraries)
        for lib in given:
            if not isinstance(lib, ctypes.CDLL):
                raise TypeError(
                    "ffi.llama.install() needs ctypes libraries such as ctypes.CDLL('libllama.so'),"
                    f" not {type(lib).__name__}"
                )
        if not self._installed:
            self._log, self._synchronize, self._installed = log, synchronize, True
            self._watch.begin()
            atexit.register(self._let_go_of_logs)
        for lib in given:
            self._trace(lib, None, fresh=False)
        for name, attribute in KNOWN.items():
            module = sys.modules.get(name)
            if isinstance(module, ModuleType) and hasattr(module, attribute):
                self._trace(getattr(module, attribute), module, fresh=False)
        return self

    def uninstall(self) -> None:
        self._watch.end()
        atexit.unregister(self._let_go_of_logs)
        self._let_go_of_logs()
        for _, traced in self._traced.values():
            traced.untrace()
        self._traced.clear()
        self._installed = False

    def _imported(self, module: ModuleType) -> None:
        """A known binding was imported just now; nobody has called its library from outside."""
        try:
            lib: Any = getattr(module, KNOWN[module.__name__], None)
            if isinstance(lib, ctypes.CDLL):
                self._trace(lib, module, fresh=True)
        except Exception as error:  # noqa: BLE001 - the import goes on
            internal_error("tracing of an imported llama.cpp", error)

    def _trace(self, lib: ctypes.CDLL, module: ModuleType | None, *, fresh: bool) -> None:
        if id(lib) in self._traced:  # the tracing keeps it
            return
        library = Library(lib, module)
        opened = [known for known, _ in self._traced.values() if known.is_same_file(library)]
        if opened:  # twice, which has one log all the same
            library.logs = opened[0].logs
        elif self._log is not False:
            library.logs.take(fresh=fresh, forced=self._log is True)
        traced = trace_library(
            lib, actor="llama", describe=describe(library, synchronize=self._synchronize)
        )
        self._traced[id(lib)] = library, traced

    def _let_go_of_logs(self) -> None:
        """Before the interpreter ends: llama.cpp may log after that, and must not call us."""
        for library, _ in self._traced.values():
            library.logs.give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.uninstall()


installation = Installed()
