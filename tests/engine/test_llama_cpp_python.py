"""The preset on the real llama-cpp-python: the same tokens, every call, what they mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from gpu_narration._types import Kind, Outcome
from gpu_narration.cli.app import cli
from gpu_narration.tracefile import Phase
from tests.support.llama_programs import Ran

#: The first of these tests may have to build the engine.
pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

Program = Callable[..., Ran]

TALK = """
if sys.argv[3] == "traced":
    gn.start(trace, **QUIET)
    ffi.llama.install()
llm = load()
with gn.correlation("req-7"):
    whole = llm.create_chat_completion(MESSAGES, max_tokens=24, temperature=0.8)
    parts = list(llm.create_chat_completion(MESSAGES, max_tokens=24, temperature=0.8, stream=True))
llm.close()
gn.stop()
tell(whole=whole["choices"], usage=whole["usage"], streamed=[part["choices"] for part in parts])
"""

#: Counts by errcheck, which ctypes calls behind each call whether it is traced or not.
COUNTED = """
import collections
import llama_cpp
from llama_cpp import llama_cpp as api
counts = collections.Counter()
def count(result, function, arguments):
    counts[function.__name__] += 1
    return result
for function in {id(f): f for f in vars(api).values() if isinstance(f, ctypes._CFuncPtr)}.values():
    function.errcheck = count
recorder = gn.start(trace, **QUIET)
ffi.llama.install()
with gn.correlation("req-7"):
    llm = load()
    said = llm.create_chat_completion(MESSAGES, max_tokens=24)
    streamed = list(llm.create_chat_completion(MESSAGES, max_tokens=8, stream=True))
    state = llm.save_state()
    llm.load_state(state)
    llm.close()
gn.stop()
tell(counts=counts)
"""


def test_completions_are_the_same_traced_and_untraced(ran: Program) -> None:
    untraced, traced = ran(TALK, "untraced", name="no"), ran(TALK, "traced")

    assert traced.said["usage"] == untraced.said["usage"]
    assert traced.said["whole"] == untraced.said["whole"]
    assert traced.said["streamed"] == untraced.said["streamed"]
    assert len(traced.said["streamed"]) > 3


def test_every_call_is_counted_as_often_as_errcheck_saw_it(ran: Program) -> None:
    done = ran(COUNTED)

    traced = Counter(event.names[1] for event in done.calls(Phase.END))
    assert traced == Counter(done.said["counts"])
    assert traced["llama_decode"] > 24
    assert len(traced) > 25


def test_every_decode_tells_its_tokens_its_position_and_its_phase(ran: Program) -> None:
    done = ran("""
recorder = gn.start(trace, **QUIET)
ffi.llama.install()
llm = load()
usage = llm.create_chat_completion(MESSAGES, max_tokens=6)["usage"]
gn.stop()
tell(**usage)
""")

    prompt = done.said["prompt_tokens"]
    told = [
        tuple(event.fields[name] for name in ("phase", "n_tokens", "position"))
        for event in done.calls(Phase.BEGIN, "llama_decode")
    ]
    assert told[0] == ("prefill", prompt, 0)
    assert told[1:] == [
        ("decode", 1, prompt + i) for i in range(done.said["completion_tokens"] - 1)
    ]


def test_a_model_tells_where_it_came_from_and_where_it_went(ran: Program) -> None:
    done = ran("""
import pathlib
gn.start(trace, **QUIET)
ffi.llama.install()
llm = load()
size = pathlib.Path(model).stat().st_size
tell(size=size, model_bytes=llm._model.size(), n_ctx=llm.n_ctx())
gn.stop()
""")

    (begun,) = done.calls(Phase.BEGIN, "llama_model_load_from_file")
    (loaded,) = done.calls(Phase.END, "llama_model_load_from_file")
    (context,) = done.calls(Phase.END, "llama_init_from_model")
    assert begun.fields["size_bytes"] == done.said["size"]
    assert str(begun.fields["file"]).endswith("tiny.gguf")
    assert loaded.fields["model_bytes"] == done.said["model_bytes"]
    assert (loaded.fields["layers"], loaded.fields["layers_offloaded"]) == (2, 0)
    assert loaded.fields["layers_reason"] == "this libllama has no GPU backend"
    assert context.fields["n_ctx"] == done.said["n_ctx"]
    # 256 cells, 2 layers, K and V of 64 halves; the log rounds to 0.01 MiB.
    assert context.fields["kv_bytes"] == pytest.approx(256 * 2 * 2 * 64 * 2, abs=5300)


def test_a_batch_that_is_refused_is_an_error_by_its_meaning(ran: Program) -> None:
    """GIVEN a full cache THEN there is no slot, and a batch behind a gap is not valid."""
    done = ran("""
import llama_cpp
gn.start(trace, **QUIET)
ffi.llama.install()
llm = load()
statuses = []
for i in range(4):
    llm._batch.set_batch(batch=list(range(3, 93)), n_past=90 * i, logits_all=False)
    statuses.append(llama_cpp.llama_decode(llm.ctx, llm._batch.batch))
gn.stop()
tell(statuses=statuses)
""")

    assert done.said["statuses"] == [0, 0, 1, -1]
    ends = done.calls(Phase.END, "llama_decode")
    assert [(end.outcome, end.error_type) for end in ends] == [
        (Outcome.OK, None), (Outcome.OK, None),
        (Outcome.ERROR, "NO_KV_SLOT"), (Outcome.ERROR, "INVALID_BATCH"),
    ]  # fmt: skip
    assert str(ends[2].error_text).startswith("no slot in the KV cache")


def test_an_abort_is_an_error_by_its_meaning(ran: Program) -> None:
    done = ran("""
import llama_cpp
gn.start(trace, **QUIET)
ffi.llama.install()
llm = load()
stop = llama_cpp.ggml_abort_callback(lambda data: True)
llama_cpp.llama_set_abort_callback(llm.ctx, stop, None)
llm._batch.set_batch(batch=[5, 6, 7], n_past=0, logits_all=False)
status = llama_cpp.llama_decode(llm.ctx, llm._batch.batch)
gn.stop()
tell(status=status)
""")

    (end,) = done.calls(Phase.END, "llama_decode")
    assert (done.said["status"], end.outcome, end.error_type) == (2, Outcome.ERROR, "ABORTED")


def test_a_file_that_is_no_model_is_refused_with_llama_cpps_own_words(ran: Program) -> None:
    done = ran("""
gn.start(trace, **QUIET)
ffi.llama.install()
import llama_cpp
try:
    llama_cpp.Llama(sys.argv[0] if sys.argv[0] != "-c" else __import__("os").__file__, verbose=False)
except ValueError as error:
    tell(error=str(error))
gn.stop()
""")

    assert "Failed to load model" in done.said["error"]
    (end,) = done.calls(Phase.END, "llama_model_load_from_file")
    assert (end.outcome, end.error_type) == (Outcome.ERROR, "NO_MODEL")
    assert "error loading model" in str(end.fields["said"])


def test_names_that_were_bound_before_are_traced_and_all_is_undone(ran: Program) -> None:
    done = ran("""
from llama_cpp import llama_max_devices as early
from llama_cpp import llama_cpp as api
before = type(early), api._lib._FuncPtr
gn.start(trace, **QUIET)
with ffi.llama.install():
    ffi.llama.install()
    early()
    api.llama_max_devices()
same = (type(early), api._lib._FuncPtr) == before
early()
ffi.llama.uninstall()
gn.stop()
tell(same=same)
""")

    assert done.said["same"]
    assert len(done.calls(Phase.END, "llama_max_devices")) == 2


def test_counters_add_up_to_all_that_was_decoded(ran: Program) -> None:
    done = ran("""
gn.start(trace, **QUIET)
ffi.llama.install()
llm = load()
first = llm.create_completion("the kernel", max_tokens=30, temperature=0)["usage"]
import llama_cpp
llama_cpp.llama_perf_context_reset(llm.ctx)
llm.reset()
second = llm.create_completion("a stream hums", max_tokens=30, temperature=0)["usage"]
llm.close()
gn.stop()
tell(prompts=first["prompt_tokens"] + second["prompt_tokens"],
     decodes=first["completion_tokens"] + second["completion_tokens"] - 2)
""")

    counted: Counter[str] = Counter()
    for event in done.calls(Phase.BEGIN) + done.calls(Phase.END):
        for name, value in event.fields.items():
            plain = name.removeprefix("before_")
            if plain.startswith("perf_") and isinstance(value, int):
                counted[plain] += value
    assert counted["perf_prefill_tokens"] == done.said["prompts"]
    assert counted["perf_decode_tokens"] == done.said["decodes"]
    assert counted["perf_resets"] == 1


def test_a_state_tells_the_bytes_that_were_copied(ran: Program) -> None:
    done = ran("""
gn.start(trace, **QUIET)
ffi.llama.install()
llm = load()
llm.create_completion("the kernel", max_tokens=2)
state = llm.save_state()
llm.load_state(state)
gn.stop()
tell(size=state.llama_state_size)
""")

    for name in ("llama_state_get_data", "llama_state_set_data"):
        (end,) = done.calls(Phase.END, name)
        assert (end.outcome, end.arguments[0].value) == (Outcome.OK, done.said["size"])


def test_asked_to_synchronize_a_decode_says_when_it_was_completed(ran: Program) -> None:
    done = ran("""
gn.start(trace, **QUIET)
ffi.llama.install(synchronize=True)
llm = load()
llm.create_completion("the kernel", max_tokens=4)
gn.stop()
""")

    ends = done.calls(Phase.END, "llama_decode")
    assert len(ends) == 4
    assert all(int(end.fields["completed_ns"]) >= (end.elapsed_ns or 0) * 0.9 for end in ends)
    assert done.calls(Phase.END, "llama_synchronize") == []


def spans(done: Ran, *options: str) -> str:
    shown = CliRunner().invoke(cli, ["spans", str(done.path), "--correlation", "req-7", *options])
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def test_the_request_is_shown_step_by_step(ran: Program) -> None:
    done = ran(TALK, "traced")

    shown = spans(done)
    prompt = done.said["usage"]["prompt_tokens"]
    folded = len(done.calls(Phase.BEGIN, "llama_decode")) - 1 - 4
    assert shown.startswith("Request req-7: ")
    for line in (
        "model: ", "context: 256 tokens, KV cache 122.9 KiB", "time to first token: ",
        "tokens sampled: ", "llama.cpp's own counters: prefill ", "VRAM: ", f"prefill          {prompt}",
        f"{folded} x decode      {folded}",
    ):  # fmt: skip
        assert line in shown, shown


def test_as_json_every_step_stands_by_itself(ran: Program) -> None:
    done = ran(TALK, "traced")

    request = json.loads(spans(done, "--json"))["request"]
    decodes = done.calls(Phase.BEGIN, "llama_decode")
    assert len(request["steps"]) == len(decodes)
    assert all(step["completed_ns"] >= step["enqueued_ns"] for step in request["steps"])
    assert {step["completed_by"] for step in request["steps"]} == {"llama_sampler_sample"}
    assert request["time_to_first_token_ns"] > 0
    assert request["vram_reason"] == "no device memory was read in this trace"


def test_nothing_of_it_is_recorded_where_the_filter_says_so(ran: Program) -> None:
    done = ran("""
gn.start(trace, **{**QUIET, "filter": "llama=off"})
ffi.llama.install()
llm = load()
llm.create_completion("the kernel", max_tokens=4)
gn.trace_tiny("test", "done", "", "")
gn.stop()
""")

    assert [event.kind for event in done.events()] == [Kind.TINY]
