"""Which functions of a module said something when they ran, and which said nothing.

Looked at by the interpreter's profile hook, so a function that was left out by a filter, or
that ran while nothing recorded, has spoken all the same.  Slow, and for tests.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any, Self

from gpu_narration import _core, narration
from gpu_narration._core import TracedFunction

Profile = Any  # of (frame, event, arg)


class NarrationCoverage:
    """Watches functions: ``with NarrationCoverage("myapp.engine") as coverage:``.

    Of each module its functions and the methods of its classes; what a function inside one
    of these says, that one has said.  Threads that run already are not seen.  A profiler
    that is set goes on.
    """

    def __init__(self, *modules: ModuleType | str) -> None:
        self._names: dict[CodeType, str] = {}
        self._decorated: set[CodeType] = set()
        self._called: set[CodeType] = set()
        self._spoken: set[CodeType] = set()
        self._before: Profile = None
        self._before_in_threads: Any = None
        self._words, self._codes = _speaking()
        for module in modules:
            self.watch(module)

    def watch(self, module: ModuleType | str) -> None:
        """Watches another module; by its name it is imported."""
        if isinstance(module, str):
            module = importlib.import_module(module)
        for name, function, decorated in _functions(module):
            self._names[function.__code__] = name
            if decorated:
                self._decorated.add(function.__code__)

    def start(self) -> None:
        self._before = sys.getprofile()
        self._before_in_threads = threading.getprofile()
        threading.setprofile(self._look)
        sys.setprofile(self._look)

    def stop(self) -> None:
        sys.setprofile(self._before)
        threading.setprofile(self._before_in_threads)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # ---- what was seen ----

    def spoke(self) -> list[str]:
        """The functions that said something, as ``module:qualified.name``."""
        return self._sorted(self._spoken)

    def silent(self) -> list[str]:
        """Those that ran and said nothing."""
        return self._sorted(self._called - self._spoken)

    def never_called(self) -> list[str]:
        """Those that did not run."""
        return self._sorted(self._names.keys() - self._called)

    def assert_none_silent(self, *but: str) -> None:
        """That all that ran have spoken, but for these (by ``name`` or ``module:name``)."""
        __tracebackhide__ = True
        silent = [
            name for name in self.silent() if name not in but and name.partition(":")[2] not in but
        ]
        if silent:
            raise AssertionError(
                f"{len(silent)} functions ran and said nothing:\n"
                + "\n".join(f"  {name}" for name in silent)
                + "\nthese spoke:\n"
                + ("\n".join(f"  {name}" for name in self.spoke()) or "  none")
            )

    def _sorted(self, codes: set[CodeType]) -> list[str]:
        return sorted(self._names[code] for code in codes)

    # ---- looking ----

    def _look(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            code = frame.f_code
            if code in self._names:
                self._called.add(code)
                if code in self._decorated:
                    self._spoken.add(code)
            elif code in self._codes:
                self._speaks(frame.f_back)
        elif event == "c_call" and id(arg) in self._words:
            self._speaks(frame)
        if self._before is not None:
            self._before(frame, event, arg)

    def _speaks(self, frame: FrameType | None) -> None:
        """The innermost watched function that is running says something."""
        while frame is not None:
            if frame.f_code in self._names:
                self._spoken.add(frame.f_code)
                return
            frame = frame.f_back


def _speaking() -> tuple[dict[int, object], set[CodeType]]:
    """What says something: functions of the core, and Python functions in front of them."""
    offered = [getattr(_core, name) for name in _core.__all__]
    words = [
        offer
        for name, offer in zip(_core.__all__, offered, strict=True)
        if name.startswith(("trace_", "narrate")) or name in ("span", "emit")
    ]
    narrates = [getattr(narration, name) for name in dir(narration) if name.startswith("narrate")]
    codes = {f.__code__ for f in narrates if isinstance(f, FunctionType)}
    # By identity; the objects are kept so that none takes another's place.
    return {id(word): word for word in words}, codes


def _functions(module: ModuleType) -> Iterator[tuple[str, FunctionType, bool]]:
    """Name, function, and whether a decorator of ours tells of its calls."""
    for value in vars(module).values():
        if isinstance(value, type):
            if value.__module__ == module.__name__:
                for member in vars(value).values():
                    yield from _function(module, member)
        else:
            yield from _function(module, value)


def _function(module: ModuleType, value: object) -> Iterator[tuple[str, FunctionType, bool]]:
    for inner in _inside(value):
        decorated = False
        while not isinstance(inner, FunctionType) or hasattr(inner, "__wrapped__"):
            decorated = decorated or _is_ours(inner)
            wrapped = getattr(inner, "__wrapped__", None)
            if wrapped is None:
                break
            inner = wrapped  # noqa: PLW2901 - one layer further in
        if isinstance(inner, FunctionType) and inner.__module__ == module.__name__:
            yield f"{module.__name__}:{inner.__qualname__}", inner, decorated


def _inside(value: object) -> Iterator[Any]:
    if isinstance(value, (staticmethod, classmethod)):
        yield value.__func__
    elif isinstance(value, property):
        yield from (part for part in (value.fget, value.fset, value.fdel) if part is not None)
    elif isinstance(value, functools.cached_property):
        yield value.func
    elif inspect.isroutine(value) or isinstance(value, TracedFunction):
        yield value


def _is_ours(function: object) -> bool:
    if isinstance(function, TracedFunction):
        return True
    code = getattr(function, "__code__", None)
    return code is not None and "narration/told.py" in code.co_filename.replace("\\", "/")
