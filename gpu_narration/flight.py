"""The flight recorder's reasons to write out what its ring holds, beside being asked to.

An exception that nobody handled is one: in the main thread, in another one, or
out of ``asyncio.run``.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from gpu_narration._errors import internal_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class ExceptionHook:
    """Calls ``act`` with a reason on an unhandled exception, then what was there before.

    ``sys.excepthook`` and ``threading.excepthook`` are given back exactly, unless the
    program has set others since.  A forked child inherits it.
    """

    def __init__(self, act: Callable[[str], object]) -> None:
        self._act: Callable[[str], object] | None = act
        self._before = sys.excepthook
        self._before_in_thread = threading.excepthook
        # One object for good: how it is found again where hooks are compared.
        self._hook = self._on_exception
        self._thread_hook = self._on_exception_in_thread
        sys.excepthook = self._hook
        threading.excepthook = self._thread_hook

    def remove(self) -> None:
        """Does nothing from now on; the hooks before are back, unless the program set others."""
        self._act = None
        if sys.excepthook is self._hook:
            sys.excepthook = self._before
        if threading.excepthook is self._thread_hook:
            threading.excepthook = self._before_in_thread

    def _on_exception(
        self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        self._tell(kind, threading.current_thread())
        self._before(kind, error, traceback)

    def _on_exception_in_thread(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_type is not SystemExit:  # which ends a thread without a word
            self._tell(arguments.exc_type, arguments.thread)
        self._before_in_thread(arguments)

    def _tell(self, kind: type[BaseException], thread: threading.Thread | None) -> None:
        # Its type alone: the text would come from a method of the program's.
        if self._act is None:
            return
        where = f" in thread {thread.name}" if thread is not None else ""
        try:
            self._act(f"unhandled {kind.__name__}{where}")
        except Exception as error:  # noqa: BLE001 - the program's report must come out
            internal_error("dump on an exception", error)
