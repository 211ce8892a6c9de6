"""``import gpu_narration`` is cheap: what only a recording needs is loaded with one."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.support.run import environment

#: Costly, or not ours to load into a program that may never record.
NOT_NEEDED = (
    "asyncio", "click", "contextvars", "ctypes", "cupy", "dataclasses", "difflib", "inspect", "json",
    "logging", "numpy", "nvtx", "pathlib", "platform", "pynvml", "rich", "signal", "subprocess",
    "tempfile", "torch", "uuid",
)  # fmt: skip

#: Prints what the import did: modules, audit events, mapped files, threads.
#: Without site: its .pth files load modules of their own.
WATCH = """
import sys
watched = ("ctypes.dlopen", "subprocess.Popen", "socket.connect", "os.fork", "os.exec")
events = []
sys.addaudithook(lambda name, arguments: events.append(name) if name in watched else None)
import gpu_narration
print({
    "modules": sorted(sys.modules),
    "events": events,
    "maps": open("/proc/self/maps").read(),
    "threads": len(__import__("os").listdir("/proc/self/task")),
})
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-S", "-c", WATCH],
        cwd=tmp_path_factory.mktemp("import"), env=environment(), capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    return ast.literal_eval(done.stdout)


def test_it_loads_nothing_that_it_does_not_need(seen: dict[str, list[str]]) -> None:
    assert sorted(set(NOT_NEEDED) & set(seen["modules"])) == []


def test_it_loads_none_of_its_own_rooms_for_recordings(seen: dict[str, list[str]]) -> None:
    ours = {name for name in seen["modules"] if name.startswith("gpu_narration.")}
    assert ours == {
        "gpu_narration._core", "gpu_narration._core._core", "gpu_narration._environment",
        "gpu_narration._errors", "gpu_narration._types", "gpu_narration._version",
        "gpu_narration.contexts", "gpu_narration.contexts.ids", "gpu_narration.narration",
        "gpu_narration.narration.builder", "gpu_narration.narration.calls",
        "gpu_narration.narration.fields", "gpu_narration.narration.function",
        "gpu_narration.recorder", "gpu_narration.redaction",
        "gpu_narration.stripping", "gpu_narration.stripping.choice", "gpu_narration.tracing",
    }  # fmt: skip


def test_it_opens_no_library_and_starts_no_process(seen: dict[str, list[str]]) -> None:
    assert seen["events"] == []


@pytest.mark.parametrize("library", ["libcuda", "libnvidia", "libcudart", "libnvToolsExt"])
def test_it_touches_no_driver(seen: dict[str, str], library: str) -> None:
    assert library not in seen["maps"]


def test_it_starts_no_thread(seen: dict[str, int]) -> None:
    assert seen["threads"] == 1
