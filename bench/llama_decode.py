"""What tracing llama.cpp costs a decode loop: traced and untraced in turns, in one process.

A turn is a run of tokens with the preset installed and recording, and one without; who
goes first changes with every turn.  A token is a ``llama_decode`` of a batch of one and
what fetches its logits.  Two models, made on the spot: the tiny one, whose decodes are so
short that the tracing shows, and one whose decodes take some milliseconds.

    python bench/llama_decode.py                     # the binding in the extra `demo`
    python bench/llama_decode.py --binding llama_cpp # where llama-cpp-python is installed

The figures to quote are the medians over the turns.  ``--clock cpu`` counts the time of
the processor, of the decoding thread and the recorder's, instead of the time that went by:
for machines that others use.  Exit status 1 past a limit.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gpu_narration
from gpu_narration import ffi
from gpu_narration.demo.model import Shape, write
from machine import facts
from showing import number, show
from turns import Spread, Turns, undisturbed

BINDINGS = {"ik_llama_cpp": "ik_llama_cpp._ctypes_api", "llama_cpp": "llama_cpp.llama_cpp"}
CONTEXT = 256

#: Name, shape, tokens of a run, turns, highest share of time that tracing may add.
MODELS = (
    ("tiny", Shape(), 200, 101, 0.02),
    ("some ms", Shape(layers=6, width=512, heads=8, feed_forward=2048), 20, 41, 0.002),
)
#: The share that the tracing of one decode may have of a decode of this length.
LONG_DECODE_NS, LONG_SHARE = 5_000_000, 0.002


class Engine:
    """A model and a context, and a loop that decodes one token after the other."""

    def __init__(self, api: Any, path: Path) -> None:
        self._api = api
        parameters = api.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._model = api.llama_model_load_from_file(os.fsencode(path), parameters)
        asked = api.llama_context_default_params()
        asked.n_ctx = asked.n_batch = CONTEXT
        asked.n_threads = asked.n_threads_batch = 1
        self._context = api.llama_init_from_model(self._model, asked)
        if not self._context:
            sys.exit("the engine made no context")
        self._batch = api.llama_batch_init(CONTEXT, 0, 1)
        memory = getattr(api, "llama_get_memory", None)
        self._memory = memory(self._context) if memory is not None else None

    def forget(self) -> None:
        """The next run begins at position 0."""
        if self._memory is not None:
            self._api.llama_memory_clear(self._memory, False)
        else:
            self._api.llama_kv_cache_clear(self._context)

    def run(self, tokens: int, clock: Callable[[], int] = time.perf_counter_ns) -> float:
        """ns a token."""
        api, batch, context = self._api, self._batch, self._context
        decode, logits = api.llama_decode, api.llama_get_logits_ith
        batch.n_tokens = 1
        batch.n_seq_id[0] = 1
        batch.seq_id[0][0] = 0
        batch.logits[0] = 1
        begin_ns = clock()
        for position in range(tokens):
            batch.token[0] = 300 + position % 100
            batch.pos[0] = position
            if decode(context, batch) != 0:
                sys.exit("a decode failed")
            logits(context, 0)
        return (clock() - begin_ns) / tokens

    def close(self) -> None:
        api = self._api
        api.llama_batch_free(self._batch)
        api.llama_free(self._context)
        getattr(api, "llama_model_free", api.llama_free_model)(self._model)


@contextlib.contextmanager
def tracing(on: bool) -> Iterator[None]:
    """The preset, installed for the block or not; a recording runs in both."""
    if not on:
        yield
        return
    with ffi.llama.install(log=False):
        yield


def measure(api: Any, path: Path, tokens: int, turns: int, clock: Callable[[], int]) -> Turns:
    engine = Engine(api, path)
    measured = Turns()
    with undisturbed():
        for turn in range(turns + 1):
            for on in ((True, False), (False, True))[turn % 2]:
                with tracing(on):
                    engine.forget()
                    engine.run(min(tokens, 10))
                    engine.forget()
                    ns = engine.run(tokens, clock)
                if turn > 0:  # the first one warms up
                    measured.add("traced" if on else "untraced", ns)
    engine.close()
    return measured


def quiet(api: Any) -> object:
    """The engine says what it does on stderr, and nobody asked; keep what comes back."""
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    silence = callback(lambda _level, _text, _data: None)
    api._lib.llama_log_set(silence, None)
    return silence


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--binding", choices=sorted(BINDINGS), default="ik_llama_cpp")
    parser.add_argument("--turns", type=int, default=None, help="instead of each model's own")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    api = importlib.import_module(BINDINGS[given.binding])
    clock = time.process_time_ns if given.clock == "cpu" else time.perf_counter_ns
    silence = quiet(api)
    rows, figures, failed = [], [], []
    with tempfile.TemporaryDirectory() as directory:
        options: Any = {"backend": "none", "vram": False, "nvtx": "off", "children": False}
        with gpu_narration.start(f"{directory}/trace", **options):
            for name, shape, tokens, turns, limit in MODELS:
                path = Path(directory) / "model.gguf"
                write(path, shape)
                measured = measure(api, path, tokens, given.turns or turns, clock)
                share = measured.ratio("traced", "untraced").median - 1
                added = measured.difference("traced", "untraced")
                untraced = measured.ns("untraced")
                rows.append(
                    [name, number(untraced.median / 1e3), number(added.median),
                     f"{number(added.low)} to {number(added.high)}", f"{share:+.2%}",
                     f"{limit:.1%}"]
                )  # fmt: skip
                figures.append(
                    {"model": name, "untraced_ns": untraced._asdict(), "added_ns": added._asdict(),
                     "share": share, "limit": limit}
                )  # fmt: skip
                if share > limit:
                    failed.append(f"{name}: {share:.2%} is more than {limit:.1%}")
                if name == "tiny":
                    failed += long_decode(added, rows, figures)
    del silence
    if given.json:
        print(
            json.dumps(
                {
                    "machine": facts(),
                    "binding": given.binding,
                    "clock": given.clock,
                    "rows": figures,
                }
            )
        )
    else:
        show(["decode", "untraced µs", "added ns", "quartiles", "share", "limit"], rows)
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def long_decode(
    added: Spread, rows: list[list[str]], figures: list[dict[str, object]]
) -> list[str]:
    """What was added to a tiny decode, as a share of one of 5 ms: it does not depend on it."""
    share = added.median / LONG_DECODE_NS
    rows.append(["5 ms, by the above", number(LONG_DECODE_NS / 1e3), number(added.median), "",
                 f"{share:+.3%}", f"{LONG_SHARE:.1%}"])  # fmt: skip
    figures.append({"model": "5 ms", "share": share, "limit": LONG_SHARE})
    return [] if share <= LONG_SHARE else [f"5 ms: {share:.3%} is more than {LONG_SHARE:.1%}"]


if __name__ == "__main__":
    sys.exit(main())
