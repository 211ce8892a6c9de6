"""A tiny llama model in GGUF, made on the spot: random weights, a real vocabulary.

What it says is nonsense, the same nonsense every time; what an engine does to say
it is real.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = (
    "a", "and", "at", "awake", "bytes", "cache", "card", "deep", "device", "dreams", "events",
    "far", "fast", "finds", "for", "from", "gently", "GPU", "hears", "holds", "hums", "in", "is",
    "it", "its", "kernel", "kernels", "launch", "light", "long", "memory", "moves", "night",
    "of", "on", "one", "runs", "sings", "sleeps", "slow", "stream", "streams", "the", "them",
    "then", "time", "to", "token", "trace", "two", "waits", "warm", "while", "with", "work",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's dimensions."""

    layers: int = 2
    width: int = 64
    heads: int = 4
    feed_forward: int = 128
    context: int = 256


def vocabulary() -> tuple[list[str], list[float], list[int]]:
    """Tokens, scores and types of a SentencePiece vocabulary with byte fallback."""
    import gguf

    kinds: Any = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256
    words = [f"\u2581{word}" for word in WORDS]
    letters = sorted({letter for word in words for letter in word})
    pieces = letters + [word for word in words if word not in letters]
    # Merges of a word from its letters must exist, and longer pieces must win.
    for word in words:
        pieces += [word[:end] for end in range(2, len(word)) if word[:end] not in pieces]
    tokens += pieces
    types += [kinds.NORMAL] * len(pieces)
    scores = [0.0] * 259 + [float(len(piece)) for piece in pieces]
    return tokens, scores, [int(kind) for kind in types]


def write(path: Path, shape: Shape | None = None) -> int:
    """Writes the model; its size in bytes.  Needs the packages gguf and numpy."""
    import gguf
    import numpy as np

    shape = shape or Shape()
    tokens, scores, types = vocabulary()
    writer: Any = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    random = np.random.default_rng(20)

    def weight(name: str, *sizes: int) -> None:
        scale = 1.0 / np.sqrt(sizes[-1])
        writer.add_tensor(name, (random.standard_normal(sizes) * scale).astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(shape.width, dtype=np.float32))

    weight("token_embd.weight", len(tokens), shape.width)
    ones("output_norm.weight")
    weight("output.weight", len(tokens), shape.width)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weight(f"{block}.{part}.weight", shape.width, shape.width)
        ones(f"{block}.ffn_norm.weight")
        weight(f"{block}.ffn_gate.weight", shape.feed_forward, shape.width)
        weight(f"{block}.ffn_up.weight", shape.feed_forward, shape.width)
        weight(f"{block}.ffn_down.weight", shape.width, shape.feed_forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.stat().st_size
