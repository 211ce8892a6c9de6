"""The demonstration from beginning to end."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gpu_narration import _core, recorder
from gpu_narration.contexts import correlation
from gpu_narration.cuda import current
from gpu_narration.demo import kernels
from gpu_narration.narration import narrate
from gpu_narration.tracing import trace_fn, trace_state

PROMPT = "the kernel waits for memory"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demonstration did; ``said`` is None where there is no engine."""

    path: Path
    said: str | None
    backend: str
    simulated: bool
    why_simulated: str
    stats: dict[str, int]
    event_cost_ns: float
    wall_ns: int


def run(
    path: Path, *, backend: str, tokens: int, rounds: int, console: bool | str, overwrite: bool
) -> Outcome:
    """Runs everything, recorded into ``path``.

    With ``backend="auto"`` the kernels run on a GPU where one is found and on the
    simulator where there is none, which every line then says.
    """
    chosen, why = _backend(backend)
    cost_ns = event_cost_ns()
    begin = time.perf_counter_ns()
    with recorder.start(path, backend=chosen, console=console, overwrite=overwrite) as recording:
        narrate(
            "demo", "begin", "", "The demo begins: some kernels, some memory, a tiny model",
            cute="Once upon a stream, a very small model woke up",
        )  # fmt: skip
        with correlation("demo-1"):
            session = current()
            assert session is not None
            assert session.backend is not None
            simulated = session.backend.simulated
            kernels.run(session.backend, rounds)
        with correlation("demo-2"):
            said = _generate(tokens)
        narrate("demo", "end", "", "The demo ends; the trace stays")
        wall_ns = time.perf_counter_ns() - begin
    return Outcome(
        recording.path, said, chosen, simulated, why, recording.stats(), cost_ns, wall_ns
    )


def event_cost_ns(count: int = 100_000) -> float:
    """What one ``trace_tiny`` costs here and now, recorded to a file of its own."""
    with (
        tempfile.TemporaryDirectory() as directory,
        recorder.start(f"{directory}/cost", backend="none", vram=False, nvtx="off", children=False),
    ):
        begin = time.perf_counter_ns()
        for index in range(count):
            _core.trace_tiny("demo", "cost", "event_{}", "Event {} of {}", index, count)
        return (time.perf_counter_ns() - begin) / count


def _backend(asked: str) -> tuple[str, str]:
    if asked != "auto":
        return asked, ""
    from gpu_narration._errors import BackendUnavailableError
    from gpu_narration.cuda.backend import choose

    try:
        choose("cupy")  # what launches the kernels on a GPU
    except BackendUnavailableError as error:
        return "mock", error.problem
    return "cupy", ""


@trace_fn(actor="demo")
def _generate(tokens: int) -> str | None:
    from gpu_narration.demo import engine as engines
    from gpu_narration.demo import model

    for package in (engines.PACKAGE, "gguf"):
        if importlib.util.find_spec(package) is None:
            narrate(
                "demo", "engine", "missing",
                f"No engine here: {package} is not installed; pip install 'gpu-narration[demo]'",
            )  # fmt: skip
            return None
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "tiny.gguf"
        size_bytes = trace_fn(actor="demo")(model.write)(file)
        narrate("demo", "write_model", file.name, f"Wrote a model of {size_bytes >> 10} KiB")
        with engines.engine(file) as engine:
            trace_state(
                "demo", "engine", "{} → {}", "The engine went from {} to {}", "loaded", "busy"
            )
            prompt = engine.tokenize(PROMPT)
            first = engine.prefill(prompt)
            return PROMPT + "".join(engine.generate(first, tokens))
