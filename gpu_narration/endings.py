"""Ends of a process that atexit does not see."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def with_multiprocessing(end: Callable[[], None]) -> None:
    """Calls ``end`` at the end of a child that multiprocessing forked.

    Such a child ends without atexit, after multiprocessing's own finalizers.
    """
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return
    from multiprocessing import get_start_method, util

    def after_threads() -> None:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()  # as multiprocessing does next
        end()

    method = getattr(process.current_process(), "_start_method", None) or get_start_method()
    if method != "spawn":
        util.Finalize(None, after_threads, exitpriority=-sys.maxsize)
