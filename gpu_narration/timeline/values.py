"""What recorded values are."""

from __future__ import annotations

from typing import TypeGuard

from gpu_narration.tracefile.format import Value

#: What a 64-bit array holds; a number beyond it is damage.
_LARGEST = (1 << 63) - 1


def is_number(value: Value) -> TypeGuard[int]:
    """Whether a value is an integer that a series can hold; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
