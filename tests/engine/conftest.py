"""The real llama-cpp-python and a tiny model, made once for all tests here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.llama_cpp import LlamaCpp, Say, llama_cpp
from tests.support.llama_programs import PRELUDE, Ran
from tests.support.run import run_python


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Tells the person who waits, past pytest's capturing."""
    capturing = request.config.pluginmanager.getplugin("capturemanager")

    def tell(text: str) -> None:
        with capturing.global_and_fixture_disabled():
            print(f"\ngpu_narration tests: {text}", file=sys.stderr, flush=True)

    return tell


@pytest.fixture(scope="session")
def built(say: Say) -> LlamaCpp:
    pytest.importorskip("jinja2", reason="jinja2 is not installed, which llama_cpp imports")
    pytest.importorskip("diskcache", reason="diskcache is not installed, which llama_cpp imports")
    return llama_cpp(say)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf", reason="gguf is not installed")
    from gpu_narration.demo.model import write

    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write(path)
    return path


@pytest.fixture
def ran(built: LlamaCpp, model: Path, tmp_path: Path) -> Callable[..., Ran]:
    """Runs a program with the real llama_cpp, in a process of its own."""

    def run(program: str, *args: str, name: str = "trace") -> Ran:
        path = tmp_path / f"{name}.gnt"
        done = run_python(PRELUDE + program, str(model), str(path), *args, env=built.environment())
        said = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        return Ran(said, done.stderr, path)

    return run
