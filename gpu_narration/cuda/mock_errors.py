"""CUDA's errors as the simulator raises them."""

from __future__ import annotations

from gpu_narration.cuda.backend import CudaError

#: Names and numbers as in CUDA's driver_types.h (cudaError).
_ERRORS = {
    1: ("cudaErrorInvalidValue", "an argument is not in its allowed range"),
    2: ("cudaErrorMemoryAllocation", "out of memory"),
    4: ("cudaErrorCudartUnloading", "the driver is shutting down"),
    9: ("cudaErrorInvalidConfiguration", "the device cannot launch a grid or block like this"),
    46: ("cudaErrorDevicesUnavailable", "the device is lost"),
    101: ("cudaErrorInvalidDevice", "no such device"),
    214: ("cudaErrorECCUncorrectable", "uncorrectable memory error"),
    400: ("cudaErrorInvalidResourceHandle", "the handle is not valid"),
    401: ("cudaErrorIllegalState", "the stream is not in a state for this"),
    600: ("cudaErrorNotReady", "the work has not finished"),
    700: ("cudaErrorIllegalAddress", "a kernel used an address that is not its own"),
    701: ("cudaErrorLaunchOutOfResources", "too many resources requested for launch"),
    709: ("cudaErrorContextIsDestroyed", "the context was destroyed"),
    719: ("cudaErrorLaunchFailure", "a kernel failed"),
    900: ("cudaErrorStreamCaptureUnsupported", "not permitted while the stream is capturing"),
    901: ("cudaErrorStreamCaptureInvalidated", "an error has invalidated the capture"),
    902: ("cudaErrorStreamCaptureMerge", "two captures would become one"),
    903: ("cudaErrorStreamCaptureUnmatched", "the capture began on another stream"),
    904: ("cudaErrorStreamCaptureUnjoined", "a stream was not joined to the one that captures"),
    905: ("cudaErrorStreamCaptureIsolation", "a captured stream waits for work outside"),
    906: ("cudaErrorStreamCaptureImplicit", "the legacy stream beside a capturing one"),
    907: ("cudaErrorCapturedEvent", "the event was last recorded in a capture"),
}


def cuda_error(code: int, *, requested_bytes: int | None = None) -> CudaError:
    """The error CUDA gives for a number."""
    name, meaning = _ERRORS.get(code, (f"cudaError{code}", ""))
    error = CudaError(code, name, meaning)
    error.requested_bytes = requested_bytes
    return error
