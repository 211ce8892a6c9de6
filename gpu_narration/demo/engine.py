"""A real llama.cpp-family engine, driven through ctypes.

``ik_llama_cpp`` brings the shared library and its structures; every call goes
through the library's own function pointers, which :mod:`gpu_narration.ffi.llama` traces.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpu_narration import ffi
from gpu_narration.narration import narrate
from gpu_narration.tracing import span, trace_fn, trace_loop, trace_tiny

PACKAGE = "ik_llama_cpp"

_LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
#: Words of the vocabulary begin behind the control tokens and the bytes.
_FIRST_WORD = 259


class EngineError(RuntimeError):
    """The engine refused; the text says which call."""


class Engine:
    """A loaded model and a context on it."""

    def __init__(self, path: Path, context_tokens: int = 128) -> None:
        from ik_llama_cpp import _ctypes_api as api

        self._api: Any = api
        # The engine prints what it does on stderr; the trace says it better.  The
        # callback must live as long as the library may call it.
        self._silence = _LOG_CALLBACK(lambda _level, _text, _data: None)
        api._lib.llama_log_set(self._silence, None)
        # It is the story that is told here, so the engine's log stays out of it.
        ffi.llama.install(log=False)
        api.llama_backend_init()
        self._model = self._load(path)
        self._context = self._make_context(context_tokens)
        self._batch = api.llama_batch_init(context_tokens, 0, 1)
        vocabulary = api.llama_model_get_vocab(self._model)
        self._vocabulary_size = int(api.llama_vocab_n_tokens(vocabulary))
        self._position = 0

    @trace_fn(actor="engine")
    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, the beginning-of-text token first."""
        raw = text.encode()
        tokens = (ctypes.c_int32 * (len(raw) + 2))()
        count = self._api.llama_tokenize(
            self._model, raw, len(raw), tokens, len(tokens), True, False
        )
        if count < 0:
            raise EngineError(f"llama_tokenize needs room for {-count} tokens")
        return list(tokens[:count])

    @trace_fn(actor="engine")
    def prefill(self, tokens: list[int]) -> int:
        """Decodes the prompt; the most likely next token."""
        return self._decode(tokens)

    @trace_fn(actor="engine")
    def generate(self, first: int, count: int) -> Iterator[str]:
        """Yields the pieces of ``count`` tokens."""
        token = first
        for index in range(count):
            piece = self.piece(token)
            trace_loop("engine", "generate", index, count, "token {} is {!r}", token, piece)
            yield piece
            token = self._decode([token])

    def piece(self, token: int) -> str:
        """The text of a token."""
        buffer = ctypes.create_string_buffer(64)
        length = self._api.llama_token_to_piece(self._model, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(0, length)].decode(errors="replace")

    def close(self) -> None:
        self._api.llama_batch_free(self._batch)
        self._api.llama_free(self._context)
        self._api.llama_free_model(self._model)

    def _load(self, path: Path) -> Any:
        with span("engine", "load_model", path.name, vram=True):
            parameters = self._api.llama_model_default_params()
            parameters.n_gpu_layers = 0
            parameters.use_mmap = False
            model = self._api.llama_model_load_from_file(str(path).encode(), parameters)
            if not model:
                raise EngineError(f"llama_model_load_from_file refused {path}")
            return model

    def _make_context(self, context_tokens: int) -> Any:
        parameters = self._api.llama_context_default_params()
        parameters.n_ctx = context_tokens
        parameters.n_threads = parameters.n_threads_batch = 1
        context = self._api.llama_init_from_model(self._model, parameters)
        if not context:
            raise EngineError("llama_init_from_model gave no context")
        return context

    def _decode(self, tokens: list[int]) -> int:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = self._position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index == len(tokens) - 1
        status = self._api.llama_decode(self._context, batch)
        if status != 0:
            raise EngineError(f"llama_decode returned {status}")
        self._position += len(tokens)
        logits = self._api.llama_get_logits_ith(self._context, len(tokens) - 1)
        best = max(range(_FIRST_WORD, self._vocabulary_size), key=lambda token: logits[token])
        trace_tiny(
            "engine", "sample", "token_{}", "Token {} leads at position {}", best, self._position
        )
        return best


@contextmanager
def engine(path: Path) -> Iterator[Engine]:
    """A loaded engine that is closed again."""
    loaded = Engine(path)
    narrate(
        "engine", "ready", path.name, "The model is loaded and has a context of 128 tokens",
        cute="The little llama woke up and stretched",
    )  # fmt: skip
    try:
        yield loaded
    finally:
        loaded.close()
