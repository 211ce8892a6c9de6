"""Why work on the GPU has no number: short fixed sentences, so that they can be counted.

What changes from case to case (the name of an error, a value) stands beside a
reason in ``gpu_detail``, never in it.
"""

from __future__ import annotations

from gpu_narration.cuda.backend import CaptureStatus, CudaError

CAPTURE = "stream capture"
CAPTURE_INVALIDATED = "stream capture was invalidated"
CAPTURE_UNKNOWN = "the capture status is unknown"
CAPTURE_INSIDE = "capture began inside the span"
UNKNOWN_STREAM = "unknown stream"
LEGACY_BESIDE_NON_BLOCKING = "legacy default stream beside non-blocking ones"
PER_THREAD_BESIDE_NON_BLOCKING = "per-thread default stream beside non-blocking ones"
PER_THREAD_BESIDE_LEGACY = "per-thread default stream beside the legacy one"
OTHER_THREAD = "per-thread default stream of another thread"
STREAM_DESTROYED = "the stream was destroyed"
CONTEXT_DESTROYED = "the context was destroyed"
DEVICE_LOST = "the device is lost"
WORK_FAILED = "work on the GPU failed"
LAUNCH_FAILED = "the launch failed"
COMPILED = "compiled inside the launch"
NOT_TIMED = "launches of this kernel are not timed"
_ONE_IN, _IS_TIMED = "one launch in ", " is timed"
POOL_EXHAUSTED = "event pool exhausted"
IMPOSSIBLE = "impossible elapsed time"
CALL_FAILED = "a CUDA call failed"
NOT_FINISHED = "not finished when the recording ended"

#: Why a known interval has no place on the CPU's timeline (``gpu_place_reason``).
NO_ANCHOR = "no clock pair near enough"
CLOCKS_DISAGREE = "the clocks of CPU and GPU disagree"

#: Numbers as in cuda.h, CUresult; the runtime's cudaError has the same.
NOT_READY = 600
_INVALID_HANDLE = 400
_NO_CONTEXT = 201
_CAPTURE_ERRORS = range(900, 909)
_CONTEXT_ERRORS = frozenset({4, _NO_CONTEXT, _INVALID_HANDLE, 709})
_DEVICE_ERRORS = frozenset({46, 100, 214, 220, 226, 810, 911})


def sampled(every: int) -> str:
    """Of a launch that the sample left out."""
    return f"{_ONE_IN}{every}{_IS_TIMED}" if every > 0 else NOT_TIMED


def is_by_choice(reason: object) -> bool:
    """Whether a launch was not timed because nobody asked for that."""
    return isinstance(reason, str) and (
        reason == NOT_TIMED or (reason.startswith(_ONE_IN) and reason.endswith(_IS_TIMED))
    )


def no_gpu(why: str) -> str:
    return f"no GPU: {why}"


def of_capture(status: CaptureStatus, *, inside: bool) -> str:
    """Of a capture status other than none; ``inside``: it was none when the span began."""
    if status is CaptureStatus.INVALIDATED:
        return CAPTURE_INVALIDATED
    if status is CaptureStatus.UNKNOWN:
        return CAPTURE_UNKNOWN
    return CAPTURE_INSIDE if inside else CAPTURE


def of_loss(error: CudaError) -> str:
    """Of an error after which nothing in the context can succeed; see :func:`lost_with`."""
    if error.code in _CONTEXT_ERRORS:
        return CONTEXT_DESTROYED
    return DEVICE_LOST if error.code in _DEVICE_ERRORS else WORK_FAILED


def of_record(error: CudaError, *, inside: bool) -> str:
    """Of an event that could not be recorded; ``inside``: the span's first one could."""
    if error.fatal:
        return of_loss(error)
    if error.code == _NO_CONTEXT:
        return CONTEXT_DESTROYED if inside else str(error)
    if error.code == _INVALID_HANDLE:
        return STREAM_DESTROYED if inside else UNKNOWN_STREAM
    if error.code in _CAPTURE_ERRORS:
        return CAPTURE_INSIDE if inside else CAPTURE
    return CALL_FAILED


def of_reading(error: CudaError) -> str:
    """Of an event pair that was recorded and cannot be read."""
    if error.fatal:
        return of_loss(error)
    return CAPTURE_INSIDE if error.code in _CAPTURE_ERRORS else CALL_FAILED


def lost_with(error: CudaError) -> bool:
    """Whether a query of an event of ours that fails so says that its context is gone.

    The event was made and recorded, so an invalid handle means that what it
    belonged to went away.
    """
    return error.fatal or error.code in (_INVALID_HANDLE, _NO_CONTEXT)


def not_yet(error: CudaError) -> bool:
    """Whether asking again later can succeed: unfinished work, or a capture elsewhere."""
    return error.code == NOT_READY or error.code in _CAPTURE_ERRORS
