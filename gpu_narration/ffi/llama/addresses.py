"""What a handle of llama.cpp is to ctypes: an int, a ``c_void_p``, a pointer."""

from __future__ import annotations

import ctypes
from typing import Any


def address(handle: Any) -> int:
    """The address that a handle is; 0 for NULL."""
    if isinstance(handle, int):
        return handle
    if handle is None:
        return 0
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
