"""What the presets of the CUDA driver and of its runtime share.

Both are found in this process: libraries that ctypes has opened, and the modules of
cuda-bindings.  What other C code calls (CuPy, PyTorch, llama.cpp) never passes here.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePath
from types import TracebackType
from typing import Any, Literal, Self

from gpu_narration._core import Address
from gpu_narration._errors import NothingToTraceError
from gpu_narration.ffi.description import Choice, Formatter, Function
from gpu_narration.ffi.escaped import Escaped
from gpu_narration.ffi.libraries import TracedLibrary, trace_library

#: ``Name`` and text of a status.
Meanings = Callable[[int], tuple[str, str]]
#: cudaErrorNotReady and CUDA_ERROR_NOT_READY: an answer, no failure.
_NOT_READY = 600
#: Set on libraries that this package opened for itself.
OWN = "_gpu_narration_own"
#: Parameters of cuda-bindings that are handles and addresses.
_HANDLE = re.compile(r"(?:h[A-Z]\w*|d(?:st|evPtr|ptr|Ptr)\w*|src\w*|stream|event|f|func)$")


@dataclass(eq=False)
class Api:
    """One of the two libraries.

    parameters: names of a C function's parameters, by pattern of its name.
    ``getters``: the functions that give a status its name and its text.
    """

    what: str
    files: re.Pattern[str]
    module: str
    include: tuple[str, ...]
    parameters: Mapping[str, str]
    getters: tuple[str, str]
    text_by_pointer: bool
    installed: list[TracedLibrary] = field(default_factory=list)

    def install(
        self, *, actor: str, include: str | Iterable[str] | None, exclude: str | Iterable[str],
        vram: Choice, targets: tuple[Any, ...],
    ) -> Installed:  # fmt: skip
        """Traces all that is found and is not traced yet."""
        found = list(targets) if targets else [*self._opened(), *self._bound()]
        done = [id(handle._lib) for handle in self.installed if handle.traced]
        found = [target for target in found if id(target) not in done]
        if not found and not self.installed:
            raise NothingToTraceError(
                f"{self.what} is not used through ctypes or cuda-bindings in this process",
                meaning="calls that C code makes by itself (CuPy, PyTorch, llama.cpp) do not pass "
                "through Python",
                next_step=f"import {self.module}, or open the library with ctypes.CDLL, before "
                "install(); for CuPy there is cuda.patch_cupy()",
            )
        for target in found:
            handle = trace_library(
                target,
                actor=actor,
                include=self.include if include is None else include,
                exclude=exclude,
                vram=vram,
                own_streams=False,
                describe=self._of_library(target)
                if isinstance(target, ctypes.CDLL)
                else self._of_bindings(target),
            )
            if handle not in self.installed:
                self.installed.append(handle)
        return Installed(self)

    def uninstall(self) -> None:
        """Ends it.  Doing it twice is no error."""
        while self.installed:
            self.installed.pop().untrace()

    def _opened(self) -> Iterator[ctypes.CDLL]:
        """Libraries of ctypes that are this one; ours is none of the program's."""
        for candidate in gc.get_objects():
            if (
                issubclass(type(candidate), ctypes.CDLL)
                and self.files.match(PurePath(str(candidate._name or "")).name)
                and not candidate.__dict__.get(OWN)
            ):
                yield candidate

    def _bound(self) -> Iterator[Any]:
        module = sys.modules.get(self.module)
        if module is not None:
            yield module

    # ---- ctypes ----

    def _of_library(self, lib: ctypes.CDLL) -> Mapping[str, Function]:
        failure = _failure(self._meanings(lib), lambda result: result)
        described = {
            pattern: Function(
                arguments=dict.fromkeys(names.split()),
                failure=failure,
                after=_allocated if names.startswith("out_address") else None,
            )
            for pattern, names in self.parameters.items()
        }
        return {**described, "*": Function(failure=failure)}

    def _meanings(self, lib: ctypes.CDLL) -> Meanings:
        # Function objects of our own, so that the program's keep their types.
        own = ctypes.CDLL(None, handle=lib._handle)
        setattr(own, OWN, True)
        getters: list[Any] = [getattr(own, name, None) for name in self.getters]

        def text(getter: Any, status: int) -> str | None:
            if getter is None:
                return None
            if not self.text_by_pointer:
                getter.restype = ctypes.c_char_p
                found = getter(ctypes.c_int(status))
            else:
                place = ctypes.c_char_p()
                getter(ctypes.c_int(status), ctypes.byref(place))
                found = place.value
            return None if found is None else found.decode(errors="replace")

        return functools.cache(
            lambda status: (
                text(getters[0], status) or f"status {status}",
                text(getters[1], status) or "",
            )
        )

    # ---- cuda-bindings ----

    def _of_bindings(self, module: Any) -> Callable[[str], Function]:
        getter: Any = vars(module)[self.getters[1]]

        @functools.cache
        def meaning(status: Any) -> tuple[str, str]:
            texts = getter(status)
            found = texts[1] if len(texts) > 1 else None
            return status.name, found.decode(errors="replace") if isinstance(found, bytes) else ""

        failure = _failure(meaning, lambda result: result[0] if type(result) is tuple else None)

        def describe(name: str) -> Function:
            return Function(
                arguments=_parameters(vars(module).get(name)),
                failure=failure,
                after=_given if re.match(r"cu(?:da)?(?:Mem)?(?:A|Ma)lloc", name) else None,
            )

        return describe


class Installed:
    """A preset that is in force; a context manager that ends it.

    escaped: as of :class:`~gpu_narration.ffi.TracedLibrary`.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    @property
    def libraries(self) -> tuple[TracedLibrary, ...]:
        """What is traced."""
        return tuple(self._api.installed)

    @property
    def escaped(self) -> tuple[Escaped, ...]:
        """Names through which calls are not seen."""
        return tuple(escaped for handle in self._api.installed for escaped in handle.escaped)

    def uninstall(self) -> None:
        """Ends it.  Doing it twice is no error."""
        self._api.uninstall()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        self.uninstall()
        return False


def _failure(
    meanings: Callable[[Any], tuple[str, str]], status_of: Callable[[Any], Any]
) -> Callable[[Any], tuple[str, str] | None]:
    def failure(result: Any) -> tuple[str, str] | None:
        status = status_of(result)
        if not status or status == _NOT_READY:
            return None
        return meanings(status)

    return failure


def _allocated(
    args: tuple[Any, ...], result: Any, _ns: int, _begun: object, _id: int
) -> dict[str, object] | None:
    """The address that came back through the first argument, a reference to it."""
    place = getattr(args[0], "_obj", None) or getattr(args[0], "contents", None) if args else None
    value = getattr(place, "value", None)
    return {"address": Address(value)} if result == 0 and isinstance(value, int) else None


def _given(
    _args: tuple[Any, ...], result: Any, _ns: int, _begun: object, _id: int
) -> dict[str, object] | None:
    if type(result) is tuple and len(result) > 1 and not result[0]:
        return {"address": Address(int(result[1]))}
    return None


def _parameters(function: Any) -> dict[str, Formatter | None] | None:
    """The parameters as cuda-bindings names them; handles by their addresses."""
    import inspect

    function = getattr(function, "__wrapped__", function)
    with suppress(TypeError, ValueError):
        names = inspect.signature(function).parameters
        return {name: _handle if _HANDLE.match(name) else None for name in names}
    return None


def _handle(value: Any) -> object:
    if type(value) in (int, Address) or hasattr(type(value), "__int__"):
        return Address(int(value))
    return value
