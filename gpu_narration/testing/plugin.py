"""The pytest plugin: limits of VRAM and GPU time, as markers of tests.

It is loaded in every run of pytest, so it imports what it needs when a test has a marker.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gpu_narration._errors import BackendUnavailableError, MarkerError, UnknownBackendError
from gpu_narration.testing.limits import MARKERS, Limit, limits_of

if TYPE_CHECKING:
    from gpu_narration.testing.captured import Captured

_VARIABLE = "GPU_NARRATION_BACKEND"
_LIMITS = pytest.StashKey[list[Limit]]()
#: Why no test with a limit can run here; empty if they can.
_NO_GPU = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("gpu_narration").addoption(
        "--gpu-narration-backend",
        metavar="BACKEND",
        default=None,
        help="the GPU of tests with vram_limit, vram_leak or gpu_time_limit: auto, cupy, driver, "
        f"mock (simulated) or none; default {_VARIABLE}, else auto, which never simulates",
    )
    parser.getgroup("gpu_narration").addoption(
        "--narrations-update",
        action="store_true",
        help="write the snapshots of narrations.assert_snapshot() instead of comparing them",
    )


def pytest_configure(config: pytest.Config) -> None:
    given = config.getoption("--gpu-narration-backend")
    if given is not None:
        from gpu_narration.cuda.backend import check_name

        try:
            check_name(given)
        except UnknownBackendError as error:
            raise pytest.UsageError(f"--gpu-narration-backend: {error}") from None
    for line in MARKERS.values():
        config.addinivalue_line("markers", line)


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Wrong arguments end the collection of the file, before any test has run."""
    made = yield
    for item in made if isinstance(made, list) else (made,):
        if isinstance(item, pytest.Item):
            try:
                item.stash[_LIMITS] = limits_of(item)
            except ValueError as error:
                problem = MarkerError(f"{item.name}: {error}")
                raise pytest.Collector.CollectError(str(problem)) from None
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    limits = item.stash.get(_LIMITS, None)
    if limits is None:
        limits = limits_of(item)  # of a collector that is not pytest's own
    if not limits:
        return (yield)
    from gpu_narration.testing import verdicts
    from gpu_narration.testing.captured import capture

    reason = _no_gpu(item.config)
    if reason:
        pytest.skip(f"no limit of VRAM or GPU time can be tested here: {reason}")
    with capture(item.name, actor="pytest", backend=_backend(item.config)) as captured:
        result = yield
        verdicts.settle(limits)
    problems = verdicts.judge(captured, limits)
    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)
    return result


@pytest.fixture
def narrations(request: pytest.FixtureRequest) -> Generator[Captured, None, None]:
    """What the test narrates and traces, as gpu_narration.testing.Captured.

    Each test has its own: events of the threads and tasks of other tests are not in it.
    """
    from gpu_narration.testing.captured import capture

    # With a limit the test needs its GPU; else none is looked for.
    limited = bool(request.node.stash.get(_LIMITS, None))
    given = request.config.getoption("--gpu-narration-backend")
    backend = _backend(request.config) if limited else given or "none"
    with capture(request.node.name, actor="pytest", backend=backend, vram=limited) as captured:
        captured._snapshot = _snapshot(request.node)
        captured._updates = request.config.getoption("--narrations-update")
        yield captured


def _snapshot(node: pytest.Item) -> Path:
    """Beside the test's file: ``narrations/FILE/TEST.txt``."""
    stem = node.path.stem
    inside = node.nodeid.partition("::")[2] or node.name
    name = re.sub(r"[^\w.=+-]+", "-", inside).strip("-")
    return node.path.parent / "narrations" / stem / f"{name[:150]}.txt"


def _backend(config: pytest.Config) -> str:
    given: str | None = config.getoption("--gpu-narration-backend")
    return given or os.environ.get(_VARIABLE) or "auto"


def _no_gpu(config: pytest.Config) -> str:
    """Why there is nothing to measure; the recording that runs, if one does, decides."""
    from gpu_narration import recorder

    running = recorder.active()
    if running is not None:
        why = running.session.no_backend
        return f"the recording that runs has no GPU: {why}" if why else ""
    if _NO_GPU not in config.stash:
        config.stash[_NO_GPU] = _look_for_gpu(_backend(config))
    return config.stash[_NO_GPU]


def _look_for_gpu(name: str) -> str:
    from gpu_narration.cuda.backend import NoBackend, choose

    try:
        found = choose(name)
    except (BackendUnavailableError, UnknownBackendError) as error:
        pytest.fail(str(error), pytrace=False)  # asked for by name: not to be passed over
    if not isinstance(found, NoBackend):
        return ""
    return f"{found.reason}; --gpu-narration-backend mock simulates one"
