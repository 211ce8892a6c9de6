"""What results of llama.cpp mean where they are no success (include/llama.h)."""

from __future__ import annotations

from typing import Any

from gpu_narration.ffi.description import Meaning

_FATAL = ("FATAL", "fatal error; what was processed before it stays in the context")

#: ``llama_decode``.  Codes below -3 are none so far; they would be fatal.
DECODE: dict[int, Meaning] = {
    1: (
        "NO_KV_SLOT",
        "no slot in the KV cache for the batch; make the batch smaller or the context larger",
    ),
    2: ("ABORTED", "the abort callback said so; what was processed before it stays in the context"),
    -1: ("INVALID_BATCH", "the batch is not valid"),
    -2: ("ALLOC_FAILED", "the compute buffers or outputs could not be allocated"),
    -3: ("COMPUTE_FAILED", "the graph could not be computed"),
    **dict.fromkeys(range(-16, -3), _FATAL),
}
#: ``llama_encode``.
ENCODE: dict[int, Meaning] = {code: DECODE[code] for code in DECODE if code <= 2}

_NO_STATE = ("NO_STATE", "no state was copied; the buffer may be too small, or of another context")
_NO_FILE = ("NO_FILE", "the file could not be read or written, or is of another model")


def copied(result: Any) -> Meaning | None:
    """Of calls that give the bytes that they have copied."""
    return _NO_STATE if result == 0 else None


def done(result: Any) -> Meaning | None:
    """Of calls that give whether they could read or write a file; 0 bytes are a no, too."""
    return None if result else _NO_FILE
