"""Exceptions of the program that come up while our code runs.

A signal handler runs between any two bytecodes of the main thread, those of our
hooks among them.  What it raises is meant for the program.
"""

from __future__ import annotations

import signal
import threading
from enum import IntEnum
from types import CodeType


class Owner(IntEnum):
    """Whose an exception is; the numbers are ``enum owner`` in the core."""

    US = 0
    MAIN_THREAD = 1
    OTHER_THREAD = 2


def owner_of(error: BaseException) -> Owner:
    """Whose an exception is that came out of a hook.

    Ours are all of them ``Exception``; but a handler's may be, too, such as the
    TimeoutError of an alarm, and is known by the handler's frame.
    """
    if isinstance(error, Exception) and not _comes_from_handler(error):
        return Owner.US
    if threading.get_ident() == threading.main_thread().ident:
        return Owner.MAIN_THREAD
    return Owner.OTHER_THREAD


def _comes_from_handler(error: BaseException) -> bool:
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in handlers:
            return True
        traceback = traceback.tb_next
    return False


def _code(handler: object) -> CodeType | None:
    while (inner := getattr(handler, "func", None)) is not None:  # functools.partial
        handler = inner
    function = getattr(handler, "__func__", handler)
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(vars(type(handler)).get("__call__"), "__code__", None)
    return code if isinstance(code, CodeType) else None
