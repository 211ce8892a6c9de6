"""Loading a model and making a context: what was asked for, what came of it.

Where weights and KV cache went is in llama.cpp's log alone, with two decimals of a MiB:
``…_bytes`` of devices are right within 5.3 kB.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

from gpu_narration.ffi.llama.addresses import address
from gpu_narration.ffi.llama.library import Library

_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BUFFER = re.compile(r"(\S+) (?:(model|KV|RS|compute|output) )?buffer size = *(\d+(?:\.\d+)?) MiB")
_MIB = 1 << 20

#: Of llama_model_params and llama_context_params, as far as the binding's have them.
_MODEL = (
    "n_gpu_layers", "split_mode", "main_gpu", "load_mode", "use_mmap", "use_mlock", "vocab_only",
)  # fmt: skip
_CONTEXT = (
    "n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_threads", "n_threads_batch", "type_k",
    "type_v", "flash_attn", "flash_attn_type", "offload_kqv", "embeddings",
)  # fmt: skip


class Loading:
    """The hooks round the calls of one library that make models and contexts."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def before_model(self, args: tuple[Any, ...]) -> dict[str, object]:
        self._listen()
        fields: dict[str, object] = {}
        if args and isinstance(args[0], bytes):
            fields["file"] = args[0].decode(errors="replace")
            fields["size_bytes"], reason = _file_size(fields["file"])
            if reason:
                fields["size_reason"] = reason
        return fields | _asked(args[-1] if args else None, _MODEL)

    def after_model(
        self, _args: tuple[Any, ...], model: Any, _elapsed_ns: int, _begun: Any, _span: int
    ) -> dict[str, object]:
        lines = self._heard()
        fields: dict[str, object] = {}
        if not model:
            return _last_words(lines)
        for field, name in (
            ("model_bytes", "llama_model_size"),
            ("parameters", "llama_model_n_params"),
            ("layers", "llama_model_n_layer"),
        ):
            ask = self._library.function(name)
            if ask is not None:
                fields[field] = ask(address(model))
        fields["description"] = self._description(address(model))
        fields |= self._offloaded(lines)
        fields |= _buffers(lines, "model", "weights")
        return fields

    def before_context(self, args: tuple[Any, ...]) -> dict[str, object]:
        self._listen()
        return _asked(args[-1] if args else None, _CONTEXT, "asked_")

    def after_context(
        self, _args: tuple[Any, ...], context: Any, _elapsed_ns: int, _begun: Any, _span: int
    ) -> dict[str, object]:
        lines = self._heard()
        if not context:
            return _last_words(lines)
        fields: dict[str, object] = {}
        ask = self._library.function("llama_n_ctx")
        if ask is not None:
            fields["n_ctx"] = ask(address(context))
        cache = _buffers(lines, "KV", "kv") | _buffers(lines, "RS", "recurrent")
        sizes = [size for name, size in cache.items() if name.startswith("kv_")]
        fields["kv_bytes"] = sum(sizes) if sizes else None
        if not sizes:
            fields["kv_reason"] = self._library.logs.reason or "llama.cpp's log did not say it"
        fields |= cache | _buffers(lines, "compute", "compute")
        self._library.counters.begin(address(context))
        return fields

    def before_free(self, args: tuple[Any, ...]) -> dict[str, int]:
        """A context goes: what its counters still hold is told."""
        context = address(args[0]) if args else 0
        moved = self._library.counters.settle(context)
        self._library.counters.forget(context)
        return moved

    def _listen(self) -> None:
        self._library.logs.listen()

    def _heard(self) -> list[str]:
        return self._library.logs.stop_listening()

    def _description(self, model: int) -> str | None:
        ask = self._library.function("llama_model_desc")
        if ask is None:
            return None
        text = ctypes.create_string_buffer(128)
        ask(model, text, len(text))
        return text.value.decode(errors="replace")

    def _offloaded(self, lines: list[str]) -> dict[str, object]:
        for line in lines:
            found = _OFFLOADED.search(line)
            if found:
                return {
                    "layers_offloaded": int(found[1]), "layers_offloadable": int(found[2])
                }  # fmt: skip
        can = self._library.function("llama_supports_gpu_offload")
        if can is not None and not can():
            return {"layers_offloaded": 0, "layers_reason": "this libllama has no GPU backend"}
        reason = self._library.logs.reason or "llama.cpp's log did not say it"
        return {"layers_offloaded": None, "layers_reason": reason}


def _asked(parameters: Any, names: tuple[str, ...], prefix: str = "") -> dict[str, object]:
    """Plain fields of a structure of parameters, passed by value."""
    if not isinstance(parameters, ctypes.Structure):
        return {}
    found = ((name, getattr(parameters, name, None)) for name in names)
    return {prefix + name: value for name, value in found if isinstance(value, (int, float))}


def _file_size(file: Any) -> tuple[int | None, str | None]:
    try:
        return Path(file).stat().st_size, None
    except (OSError, ValueError) as error:
        return None, getattr(error, "strerror", None) or str(error)


def _buffers(lines: list[str], what: str, called: str) -> dict[str, int]:
    """By device, the bytes of the buffers of one kind.  A fork of llama.cpp leaves out the
    word for weights.
    """
    sizes: dict[str, int] = {}
    for line in lines:
        found = _BUFFER.search(line)
        if found and (found[2] or "model") == what:
            name = f"{called}_{found[1]}_bytes"
            sizes[name] = sizes.get(name, 0) + round(float(found[3]) * _MIB)
    return sizes


def _last_words(lines: list[str]) -> dict[str, object]:
    """What llama.cpp said when it could not."""
    said = [line for line in lines if "error" in line or "failed" in line]
    return {"said": said[0]} if said else {}
