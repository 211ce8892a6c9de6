"""A real engine of the llama.cpp family, traced through ctypes: it says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import ffi
from gpu_narration._types import Kind, Outcome
from gpu_narration.tracefile import Phase
from tests.support.recording import Seen, recorded

PROMPT = "the kernel hums"
COUNT = 8

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf", reason="gguf is not installed")
    pytest.importorskip("ik_llama_cpp", reason="ik_llama_cpp is not installed")
    from gpu_narration.demo.model import write

    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write(path)
    return path


@pytest.fixture
def engine(model: Path) -> Iterator[Any]:
    """A loaded engine; nothing of its loading is in the trace."""
    from gpu_narration.demo.engine import Engine

    loaded = Engine(model)
    yield loaded
    loaded.close()


def _say(engine: Any) -> list[str]:
    first = engine.prefill(engine.tokenize(PROMPT))
    return list(engine.generate(first, COUNT))


def _seen(directory: Path, engine: Any, program: Callable[[Any], object] = _say) -> Seen:
    return recorded(directory, lambda: program(engine))


def _calls(seen: Seen) -> Counter[str | None]:
    return Counter(event.names[1] for event in seen.begins(Kind.FOREIGN))


def test_the_engine_says_the_same_traced_and_untraced(tmp_path: Path, model: Path) -> None:
    from gpu_narration.demo.engine import Engine

    said: list[list[str]] = []
    for traced in (False, True):
        loaded = Engine(model)
        if traced:
            recorded(tmp_path, lambda loaded=loaded: said.append(_say(loaded)))
        else:
            ffi.llama.uninstall()
            said.append(_say(loaded))
        loaded.close()

    assert said[0] == said[1] != []


def test_a_prompt_begins_with_the_token_of_the_beginning(engine: Any) -> None:
    assert engine.tokenize(PROMPT)[0] == 1


def test_the_prompt_and_every_token_is_one_decode(tmp_path: Path, engine: Any) -> None:
    seen = _seen(tmp_path, engine)

    assert _calls(seen)["llama_decode"] == 1 + COUNT


def test_every_decode_ends_well(tmp_path: Path, engine: Any) -> None:
    seen = _seen(tmp_path, engine)

    outcomes = [
        (event.outcome, event.arguments[0].value)
        for event in seen.ends(Kind.FOREIGN)
        if event.names[1] == "llama_decode"
    ]
    assert outcomes == [(Outcome.OK, 0)] * (1 + COUNT)


def test_every_piece_is_one_call(tmp_path: Path, engine: Any) -> None:
    seen = _seen(tmp_path, engine)

    assert _calls(seen)["llama_token_to_piece"] == COUNT


def test_calls_belong_to_the_step_that_made_them(tmp_path: Path, engine: Any) -> None:
    seen = _seen(tmp_path, engine)

    names = {event.id: event.names[1] for event in seen.begins(Kind.FUNCTION)}
    owners = Counter(
        names.get(event.span or 0)
        for event in seen.begins(Kind.FOREIGN)
        if event.names[1] == "llama_decode"
    )
    assert owners == {"prefill": 1, "generate": COUNT}


def test_the_loop_tells_every_token(tmp_path: Path, engine: Any) -> None:
    seen = _seen(tmp_path, engine)

    positions = [line.split()[3] for line in seen.lines(Kind.LOOP)]
    assert positions == [f"iter_{index}/{COUNT}" for index in range(COUNT)]


def test_a_batch_is_recorded_by_type_and_size(tmp_path: Path, engine: Any) -> None:
    seen = _seen(tmp_path, engine)

    decodes = [
        line
        for line in seen.lines(Kind.FOREIGN)
        if line.startswith("TRACE llama llama_decode ctx=")
    ]
    assert all("<llama_batch, " in line for line in decodes)
    assert len(decodes) == 1 + COUNT


def test_every_span_that_began_ends(tmp_path: Path, engine: Any) -> None:
    seen = _seen(tmp_path, engine)

    begun = [event.id for event in seen.events if event.phase is Phase.BEGIN]
    ended = [event.span_id for event in seen.events if event.phase is Phase.END]
    assert sorted(begun) == sorted(span_id or 0 for span_id in ended)


def test_a_generation_left_early_is_closed(tmp_path: Path, engine: Any) -> None:
    def leave_early(engine: Any) -> None:
        pieces = engine.generate(engine.prefill(engine.tokenize(PROMPT)), COUNT)
        next(pieces)
        pieces.close()

    seen = _seen(tmp_path, engine, leave_early)

    ends = {event.names[1]: event.outcome for event in seen.ends(Kind.FUNCTION)}
    assert ends["generate"] is Outcome.CLOSED


def test_a_file_that_is_no_model_is_refused_and_recorded(tmp_path: Path, model: Path) -> None:
    from gpu_narration.demo.engine import Engine, EngineError

    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(60))

    def program() -> None:
        with pytest.raises(EngineError, match="refused"):
            Engine(broken)

    seen = recorded(tmp_path, program)

    refusals = [
        (event.outcome, event.error_type)
        for event in seen.ends(Kind.FOREIGN)
        if event.names[1] == "llama_model_load_from_file"
    ]
    assert refusals == [(Outcome.ERROR, "NO_MODEL")]
