"""``gpu-narration run --ffi llama``, on programs that know nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gpu_narration._types import Kind
from gpu_narration.tracefile import Phase, Trace
from tests.support.llama_cpp import LlamaCpp, Say, suite_needs
from tests.support.run import environment

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

PROGRAM = """
import sys
import llama_cpp
llm = llama_cpp.Llama(sys.argv[1], n_ctx=256, n_threads=1, verbose=False, seed=7)
print(llm.create_completion("the kernel", max_tokens=8, temperature=0)["choices"][0]["text"])
"""


def run(
    built: LlamaCpp, *arguments: str, cwd: Path, needs: tuple[Path, ...] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    known = environment()
    given = built.environment(*needs)
    given["PYTHONPATH"] = os.pathsep.join([given["PYTHONPATH"], known["PYTHONPATH"]])
    return subprocess.run(
        [sys.executable, "-m", "gpu_narration.cli", "run", *arguments],
        cwd=cwd, env={**known, **given, **env}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=600,
    )  # fmt: skip


def decodes(path: Path) -> int:
    return sum(
        event.kind is Kind.FOREIGN and event.phase is Phase.END and event.names[1] == "llama_decode"
        for event in Trace(path).events()
    )


def test_a_program_that_imports_it_later_is_traced_and_says_the_same(
    built: LlamaCpp, model: Path, tmp_path: Path
) -> None:
    script = tmp_path / "app.py"
    script.write_text(textwrap.dedent(PROGRAM))
    plain = subprocess.run(
        [sys.executable, str(script), str(model)],
        cwd=tmp_path, env={**environment(), **built.environment()}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip

    traced = run(
        built, "--ffi", "llama", "-o", "app.gnt", "--no-vram", "--backend", "none", "-q",
        str(script), str(model), cwd=tmp_path,
    )  # fmt: skip

    assert (traced.returncode, traced.stdout) == (0, plain.stdout), traced.stderr
    assert decodes(tmp_path / "app.gnt") == 8


#: What needs no model of its own from a network: the vocabularies come with the sources.
OFFLINE = (
    "tests/test_llama.py::test_llama_cpp_version",
    "tests/test_llama.py::test_llama_cpp_tokenization",
    "tests/test_llama_chat_format.py",
    "tests/test_llama_grammar.py",
    "tests/test_llama_speculative.py",
)
#: Of the tests that load a model, those that ask for no more than that it is a transformer:
#: the tiny one stands where the hub's client looks first.
WITH_A_TRANSFORMER = "llama_cpp_transformer_model_path"
HUB_MODEL = Path("models--ggml-org--models")
HUB_FILE = Path("tinyllamas") / "stories15M-q4_0.gguf"


def test_its_own_offline_tests_pass_unchanged(
    built: LlamaCpp, model: Path, tmp_path: Path, say: Say
) -> None:
    needs = suite_needs(say)
    hub = tmp_path / "hub"
    snapshot = hub / HUB_MODEL / "snapshots" / "0000"
    (snapshot / HUB_FILE).parent.mkdir(parents=True)
    (snapshot / HUB_FILE).symlink_to(model)
    (hub / HUB_MODEL / "refs").mkdir()
    (hub / HUB_MODEL / "refs" / "main").write_text("0000")
    options = ("-q", "-p", "no:cacheprovider", "--rootdir", str(built.sources))

    def suite(name: str, *chosen: str) -> subprocess.CompletedProcess[str]:
        return run(
            built, "--ffi", "llama", "-o", str(tmp_path / f"{name}.gnt"), "--no-vram",
            "--backend", "none", "-q", "-m", "pytest", *options, *chosen,
            cwd=built.sources, needs=(needs,), HF_HUB_CACHE=str(hub), HF_HUB_OFFLINE="1",
            PYTHONDONTWRITEBYTECODE="1",
        )  # fmt: skip

    offline = suite("offline", *OFFLINE)
    transformer = suite("transformer", "tests/test_llama.py", "-k", WITH_A_TRANSFORMER)

    assert offline.returncode == 0, offline.stdout + offline.stderr
    assert " 1 passed" not in offline.stdout
    assert transformer.returncode == 0, transformer.stdout + transformer.stderr
    assert decodes(tmp_path / "transformer.gnt") > 10
