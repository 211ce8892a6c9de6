"""``patch_cupy()``: synchronisations and copies are spans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpu_narration import cuda
from gpu_narration._types import Kind
from tests.support.recording import Seen, recorded


def _waits(seen: Seen) -> list[tuple[Any, ...]]:
    """Action, target and fields of the waits, in order."""
    begins = seen.begins(Kind.SPAN)
    return [
        (event.names[1], event.names[2], dict(seen.trace.annotations(event))) for event in begins
    ]


@pytest.mark.parametrize(
    ("wait", "recorded_as"),
    [
        (
            lambda cupy: cupy.cuda.ExternalStream(9, 0).synchronize(),
            ("stream_synchronize", "", {"stream": 9, "device": 0}),
        ),
        (lambda cupy: cupy.cuda.Event().synchronize(), ("event_synchronize", "", {})),
        (lambda cupy: cupy.cuda.Device(1).synchronize(), ("device_synchronize", "", {"device": 1})),
        (lambda cupy: cupy.ndarray().get(), ("memcpy", "d2h", {"size_bytes": 4096})),
        (lambda cupy: cupy.ndarray().item(), ("memcpy", "d2h", {"size_bytes": 4096})),
        (lambda cupy: cupy.asnumpy(cupy.ndarray()), ("memcpy", "d2h", {"size_bytes": 4096})),
        (
            lambda cupy: cupy.ndarray().get(cupy.cuda.ExternalStream(9, 0), blocking=False),
            ("memcpy_async", "d2h", {"size_bytes": 4096, "stream": 9, "device": 0}),
        ),
        (lambda cupy: cupy.ndarray().set([1]), ("memcpy", "h2d", {"size_bytes": 4096})),
        (lambda cupy: cupy.cuda.runtime.memcpy(1, 2, 3, 1), ("memcpy", "h2d", {"size_bytes": 3})),
        (lambda cupy: cupy.cuda.runtime.memcpy(1, 2, 3, 3), ("memcpy", "d2d", {"size_bytes": 3})),
        (
            lambda cupy: cupy.cuda.runtime.memcpyAsync(1, 2, 3, 2, 9),
            ("memcpy_async", "d2h", {"size_bytes": 3, "stream": 9}),
        ),
        (
            lambda cupy: cupy.cuda.runtime.streamSynchronize(9),
            ("stream_synchronize", "", {"stream": 9}),
        ),
        (lambda cupy: cupy.cuda.runtime.eventSynchronize(9), ("event_synchronize", "", {})),
        (lambda cupy: cupy.cuda.runtime.deviceSynchronize(), ("device_synchronize", "", {})),
    ],
)
def test_a_wait_is_one_span(cupy: Any, tmp_path: Path, wait: Any, recorded_as: Any) -> None:
    def program() -> None:
        cuda.patch_cupy()
        wait(cupy)

    seen = recorded(tmp_path, program)

    assert _waits(seen) == [recorded_as]
    assert len(seen.ends()) == 1


def test_a_wait_that_fails_raises_what_it_raises_and_ends_its_span(
    cupy: Any, tmp_path: Path
) -> None:
    def program() -> None:
        cuda.patch_cupy()
        with pytest.raises(TypeError, match="Only numpy"):
            cupy.ndarray().set(None)

    (end,) = recorded(tmp_path, program).ends()

    assert (end.outcome.name, end.error_type) == ("ERROR", "TypeError")


def test_after_unpatch_waits_are_not_seen(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        with cuda.patch_cupy():
            device = cupy.cuda.Device(0)
        cupy.ndarray().get()
        cupy.cuda.ExternalStream(9, 0).synchronize()
        cupy.cuda.runtime.deviceSynchronize()
        device.synchronize()

    assert len(recorded(tmp_path, program).begins()) == 0
