"""The benches that every test of the contract runs on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.backends import (
    Bench,
    CupyBench,
    FakeCupyBench,
    FakeDriverBench,
    MockBench,
    RealDriverBench,
)

BENCHES: dict[str, Callable[[], Bench]] = {
    "mock": MockBench,
    "fake-driver": FakeDriverBench,
    "fake-old-driver": lambda: FakeDriverBench("FAKE_CUDA_OLD"),
    "fake-cupy": FakeCupyBench,
    "driver": RealDriverBench,
    "cupy": CupyBench,
}


@pytest.fixture(
    params=[
        "mock",
        "fake-driver",
        "fake-old-driver",
        "fake-cupy",
        pytest.param("driver", marks=pytest.mark.gpu),
        pytest.param("cupy", marks=pytest.mark.gpu),
    ]
)
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    if request.param.startswith("fake"):
        # What hides the machine's GPUs from a run would hide the fake ones too.
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return BENCHES[request.param]()
