"""Libraries that stand in for the real ones, on the simulated GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gpu_narration import cuda
from tests.support import fake_cupy, fake_libraries


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What ``import cupy`` finds; patched by nobody in the end."""
    yield fake_cupy.install(monkeypatch)
    cuda.unpatch_cupy()


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Numba, Triton and PyTorch, whose current stream is the first that a test makes."""
    monkeypatch.setattr("gpu_narration.cuda.session.choose", lambda name: fake_cupy.Backend())
    return fake_libraries.install(monkeypatch, stream=fake_libraries.FIRST)
