"""llama.cpp through ctypes, in full: ``ffi.llama.install()``.

Every call of a binding's library becomes a span; those that matter say more: which
model was loaded and where it went, what a batch held, what a status means, what
llama.cpp logged and counted.  Bindings are found when they are imported, and may be
installed before or after that.
"""

from __future__ import annotations

import ctypes

from gpu_narration.ffi.llama.bindings import Installed, installation

__all__ = ["Installed", "install", "uninstall"]


def install(
    *libraries: ctypes.CDLL, log: bool | None = None, synchronize: bool = False
) -> Installed:
    """Traces llama.cpp in this process; a context manager that ends it.

    libraries: of bindings that are not known; ``llama_cpp`` (llama-cpp-python) and
        ``ik_llama_cpp`` are found without, now or when they are imported.
    log: whether llama.cpp's log lines become narrations.  They go on to the callback that
        the program set, or to stderr if it set none.  Default: where that callback can be
        known, which is of a library with ``llama_log_get`` and of one that is only
        imported later.
    synchronize: call ``llama_synchronize`` behind every decode, to know at once when the
        GPU was done.  That takes away what runs ahead; without it a trace tells how long
        it took until the program itself waited.

    Installing again adds the libraries, and changes nothing else.  Raises TypeError for
    what is no ctypes library.
    """
    return installation.install(libraries, log=log, synchronize=synchronize)


def uninstall() -> None:
    """Makes every library and the log what they were.  Doing it twice is no error."""
    installation.uninstall()
