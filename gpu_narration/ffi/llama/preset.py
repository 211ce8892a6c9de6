"""What is told of each function of llama.cpp beside its arguments, result and time."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gpu_narration._types import LLAMA_WAITS
from gpu_narration.ffi.description import Fields, Function
from gpu_narration.ffi.llama import statuses
from gpu_narration.ffi.llama.addresses import address
from gpu_narration.ffi.llama.batches import looker, reads
from gpu_narration.ffi.llama.counters import PACE_NS
from gpu_narration.ffi.llama.library import Library
from gpu_narration.ffi.llama.loading import Loading

After = Callable[[tuple[Any, ...], Any, int, Any, int], Fields | None]


def describe(library: Library, *, synchronize: bool) -> Callable[[str], Function]:
    """The preset of one library; asked once a function."""
    table = _table(library, synchronize=synchronize)

    def of(name: str) -> Function:
        function = table.get(name)
        if function is None:
            function = next(
                (told for pattern, told in _PATTERNS if fnmatch.fnmatchcase(name, pattern)),
                Function(),
            )
        parameters = library.parameters(name)
        return replace(function, arguments=dict.fromkeys(parameters)) if parameters else function

    return of


def _table(library: Library, *, synchronize: bool) -> dict[str, Function]:
    loading = Loading(library)
    finish = _synchronized(library) if synchronize else None
    decode = Function(
        before=looker(library.counters.settle), reads=reads(library.argtypes("llama_decode")),
        after=finish, failure=statuses.DECODE, own_streams=True,
    )  # fmt: skip
    model = Function(
        before=loading.before_model, after=loading.after_model, vram=True, may_lack_memory=True,
        failure=_no_model, own_streams=True,
    )  # fmt: skip
    context = Function(
        before=loading.before_context, after=loading.after_context, vram=True,
        may_lack_memory=True, failure=_no_context, own_streams=True,
    )  # fmt: skip
    free = Function(before=loading.before_free, vram=True)
    table = {
        "llama_decode": decode,
        "llama_encode": replace(decode, failure=statuses.ENCODE),
        # Its batch cannot be looked into.
        "llama_process": Function(after=finish, failure=statuses.DECODE, own_streams=True),
        "llama_model_load_from_file": model,
        "llama_model_load_from_splits": model,
        "llama_load_model_from_file": model,
        "llama_init_from_model": context,
        "llama_new_context_with_model": context,
        "llama_free": free,
        "llama_model_free": Function(vram=True),
        "llama_free_model": Function(vram=True),
        "llama_log_set": Function(after=_log_was_set(library)),
        "llama_perf_context_reset": Function(before=_settle(library)),
        "llama_reset_timings": Function(before=_settle(library)),
    }
    for name, position in LLAMA_WAITS.items():
        table[name] = Function(
            after=_moved(library, position), pace_ns=PACE_NS, failure=_FAILURES.get(name)
        )
    return table


_COPIED = Function(failure=statuses.copied)
_FILE = Function(failure=statuses.done)
_FAILURES = {"llama_state_get_data": statuses.copied, "llama_state_set_data": statuses.copied}
_PATTERNS = (
    ("llama_state_*_file", _FILE),
    ("llama_*_session_file", _FILE),
    ("llama_state_*_data", _COPIED),
    ("llama_state_*_data_ext", _COPIED),
)


def _no_model(result: Any) -> tuple[str, str] | None:
    return None if result else ("NO_MODEL", "the model could not be loaded")


def _no_context(result: Any) -> tuple[str, str] | None:
    return None if result else ("NO_CONTEXT", "the context could not be made")


def _moved(library: Library, position: int) -> After | None:
    """Behind a call that waited for the context: its counters have moved."""
    moved = library.counters.moved

    def after(
        args: tuple[Any, ...], _result: Any, _elapsed_ns: int, _begun: Any, _span: int
    ) -> Fields:
        return moved(address(args[position]))

    return after if library.counters.can_read else None


def _settle(library: Library) -> Callable[[tuple[Any, ...]], Fields]:
    """In front of a reset, which forgets what was not read."""

    def before(args: tuple[Any, ...]) -> Fields:
        return library.counters.settle(address(args[0]))

    return before


def _log_was_set(library: Library) -> After:
    def after(
        args: tuple[Any, ...], _result: Any, _elapsed_ns: int, _begun: Any, _span: int
    ) -> None:
        library.logs.was_set(*args[:2])

    return after


def _synchronized(library: Library) -> After | None:
    """Waits for the decode, as was asked for, and tells how long both took."""
    wait = library.function("llama_synchronize", waits=True)
    if wait is None:
        return None

    def after(
        args: tuple[Any, ...], _result: Any, elapsed_ns: int, _begun: Any, _span: int
    ) -> Fields:
        began_ns = time.monotonic_ns()
        wait(args[0])
        return {"completed_ns": elapsed_ns + time.monotonic_ns() - began_ns}

    return after
