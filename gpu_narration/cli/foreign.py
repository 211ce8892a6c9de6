"""What ``doctor --ffi`` finds of a module: which of its foreign functions can be traced."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from gpu_narration._errors import GpuNarrationError
from gpu_narration.cli.findings import Finding
from gpu_narration.ffi.libraries import TracedLibrary, handles, trace_library

#: So many places are named.
_SHOWN = 10


def look(module: str) -> Iterator[Finding]:
    """Imports a module, traces what it offers, looks what escapes, and puts it back."""
    subject = f"ffi {module}"
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - whatever a module's own code may raise
        yield Finding(
            subject, False, f"cannot be imported: {type(error).__name__}: {error}",
            "name a module as import does; PYTHONPATH says where modules are",
        )  # fmt: skip
        return
    try:
        handle = trace_library(loaded)
    except GpuNarrationError as error:
        yield Finding(subject, False, error.problem, error.next_step)
        return
    try:
        yield _found(subject, handle)
    finally:
        handle.untrace()


def _found(subject: str, handle: TracedLibrary) -> Finding:
    replaced = handle.replaced
    libraries = [known.actor for known in handles() if known is not handle]
    parts = [f"{len(libraries)} libraries of ctypes or cffi"] if libraries else []
    if replaced:
        parts.append(f"{replaced} functions of C code")
    found = f"can be traced: {' and '.join(parts)}"
    if not handle.escaped:
        return Finding(subject, True, f"{found}; no name escapes")
    shown = ", ".join(f"{place} ({function})" for function, place in handle.escaped[:_SHOWN])
    more = ", …" if len(handle.escaped) > _SHOWN else ""
    return Finding(
        subject, False, f"{found}; these names hold functions that would be replaced: {shown}{more}",
        "trace the module before they are imported, or calls through them are not seen",
    )  # fmt: skip
