"""Which reason an error of CUDA becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_narration.cuda import reasons
from gpu_narration.cuda.backend import CaptureStatus, CudaError, NoContextError


def _error(code: int) -> CudaError:
    return CudaError(code, f"cudaError{code}")


@pytest.mark.parametrize(
    ("code", "at_begin", "at_end"),
    [
        (4, "the context was destroyed", "the context was destroyed"),
        (46, "the device is lost", "the device is lost"),
        (214, "the device is lost", "the device is lost"),
        (400, "unknown stream", "the stream was destroyed"),
        (700, "work on the GPU failed", "work on the GPU failed"),
        (709, "the context was destroyed", "the context was destroyed"),
        (719, "work on the GPU failed", "work on the GPU failed"),
        (900, "stream capture", "capture began inside the span"),
        (906, "stream capture", "capture began inside the span"),
        (2, "a CUDA call failed", "a CUDA call failed"),
    ],
)
def test_an_event_that_cannot_be_recorded(code: int, at_begin: str, at_end: str) -> None:
    error = _error(code)

    assert (reasons.of_record(error, inside=False), reasons.of_record(error, inside=True)) == (
        at_begin,
        at_end,
    )


def test_a_program_without_a_context_has_no_gpu_yet() -> None:
    assert reasons.of_record(NoContextError(), inside=False) == (
        "no GPU: the program has no CUDA context"
    )


def test_a_context_that_goes_inside_the_span_was_destroyed() -> None:
    assert reasons.of_record(NoContextError(), inside=True) == "the context was destroyed"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (700, "work on the GPU failed"),
        (907, "capture began inside the span"),
        (999, "a CUDA call failed"),
    ],
)
def test_a_pair_that_cannot_be_read(code: int, reason: str) -> None:
    assert reasons.of_reading(_error(code)) == reason


@pytest.mark.parametrize(("code", "later"), [(600, True), (900, True), (700, False), (400, False)])
def test_what_is_worth_asking_again(code: int, later: bool) -> None:
    assert reasons.not_yet(_error(code)) is later


@pytest.mark.parametrize("inside", [False, True])
def test_every_capture_status_but_none_has_a_reason(inside: bool) -> None:
    told = {status: reasons.of_capture(status, inside=inside) for status in CaptureStatus}

    assert told[CaptureStatus.INVALIDATED] == "stream capture was invalidated"
    assert told[CaptureStatus.UNKNOWN] == "the capture status is unknown"
    assert told[CaptureStatus.ACTIVE] == (
        "capture began inside the span" if inside else "stream capture"
    )


def test_what_a_sample_leaves_out_says_how_large_it_is() -> None:
    assert (reasons.sampled(10), reasons.sampled(0)) == (
        "one launch in 10 is timed",
        "launches of this kernel are not timed",
    )


_PAGE = Path(__file__).parents[2] / "docs" / "gpu-time.md"
_SENTENCES = sorted(
    value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)
)


@pytest.mark.parametrize("sentence", _SENTENCES)
def test_every_reason_is_explained(sentence: str) -> None:
    text = " ".join(_PAGE.read_text(encoding="utf-8").split())

    assert sentence in text
