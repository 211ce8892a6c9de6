"""One request to a llama.cpp as text: what was decoded, how fast, what memory did.

What is unknown is a dash, and why stands below.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from typing import TextIO

from rich.table import Table
from rich.text import Text

from gpu_narration.timeline.distribution import Distribution
from gpu_narration.timeline.request import NO_FIRST, NOT_COMPLETED, PhaseSum, Request, Step
from gpu_narration.timeline.request_memory import NO_READING, DeviceUse
from gpu_narration.tracefile.format import Value
from gpu_narration.views.escape import safe
from gpu_narration.views.tables import TableConsole
from gpu_narration.views.units import duration, size

UNKNOWN = "\N{EN DASH}"

#: Of a run of alike steps the first and the last are shown, and those between in one row.
SHOWN_FIRST, SHOWN_LAST = 3, 1
_NARROWEST, _UNBOUNDED = 100, 10_000


def print_request(request: Request, out: TextIO, *, color: bool, pids: Sequence[int] = ()) -> None:
    """Prints what is known of a request; nothing if no call of llama.cpp belongs to it."""
    if request.is_empty:
        return
    width = shutil.get_terminal_size().columns if out.isatty() else _UNBOUNDED
    console = TableConsole(
        file=out, force_terminal=color, no_color=not color, highlight=False,
        width=max(width, _NARROWEST),
    )  # fmt: skip
    for line in _head(request):
        console.print(Text(safe(line)), soft_wrap=True)
    if request.steps:
        console.print()
        console.print(_table(request))
    console.print()
    for line in [*_rates(request), *_calls(request), *_memory(request, pids), *_failures(request)]:
        console.print(Text(safe(line)), soft_wrap=True)
    console.print()


def _head(request: Request) -> list[str]:
    took = duration(request.end_ns - request.begin_ns)
    lines = [f"Request {request.correlation}: {took}, {_count(request.events, 'event')}"]
    model, context = request.model, request.context
    if model is not None:
        lines.append(f"model: {_model(model)}")
    if context is not None:
        lines.append(f"context: {_context(context)}")
    return lines


def _model(fields: dict[str, Value]) -> str:
    parts = [_word(fields, "file")]
    file_size = fields.get("size_bytes")
    if isinstance(file_size, int):
        parts.append(size(file_size))
    offloaded, layers = fields.get("layers_offloaded"), fields.get("layers_offloadable")
    if isinstance(offloaded, int):
        of = f" of {layers}" if isinstance(layers, int) else ""
        why = f" ({_word(fields, 'layers_reason')})" if "layers_reason" in fields else ""
        parts.append(f"{offloaded}{of} layers offloaded{why}")
    elif "layers_reason" in fields:
        parts.append(f"layers offloaded unknown ({_word(fields, 'layers_reason')})")
    load_ns = fields.get("load_ns")
    if isinstance(load_ns, int):
        parts.append(f"loaded in {duration(load_ns)}")
    return ", ".join([*parts, *_vram(fields)])


def _context(fields: dict[str, Value]) -> str:
    tokens = fields.get("n_ctx", fields.get("asked_n_ctx"))
    parts = [f"{tokens if isinstance(tokens, int) else '?'} tokens"]
    kv = fields.get("kv_bytes")
    if isinstance(kv, int):
        parts.append(f"KV cache {size(kv)}")
    elif "kv_reason" in fields:
        parts.append(f"size of the KV cache unknown ({_word(fields, 'kv_reason')})")
    return ", ".join([*parts, *_vram(fields)])


def _vram(fields: dict[str, Value]) -> list[str]:
    """What a loading did to device memory, where both edges were read."""
    before, after = fields.get("vram_before_bytes"), fields.get("vram_after_bytes")
    if not isinstance(before, int) or not isinstance(after, int):
        return []
    simulated = "simulated " if fields.get("simulated") is True else ""
    return [f"{simulated}VRAM {size(before)} → {size(after)}"]


def _word(fields: dict[str, Value], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else "?"


# ---- steps ----


def _table(request: Request) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("step", no_wrap=True)
    for column in ("tokens", "position", "enqueued", "completed", "tokens/s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for _, group in itertools.groupby(request.steps, key=_kind):
        run = list(group)
        folded = run[SHOWN_FIRST:-SHOWN_LAST]
        if len(folded) < 2:
            folded = []
        for index, step in enumerate(run):
            if folded and index == SHOWN_FIRST:
                table.add_row(*_folded(folded))
            if not folded or index < SHOWN_FIRST or index >= len(run) - SHOWN_LAST:
                table.add_row(*_row(step, request.begin_ns))
    return table


def _kind(step: Step) -> tuple[str, str | None, bool, bool]:
    return step.function, step.phase, step.failure is not None, step.is_open


def _name(step: Step) -> str:
    return step.phase or step.function


def _row(step: Step, begin_ns: int) -> tuple[str | Text, ...]:
    rate = None
    if step.n_tokens and step.completed_ns:
        rate = step.n_tokens * 1e9 / step.completed_ns
    remark = step.failure or ("did not come back" if step.is_open else "")
    return (
        duration(step.begin_ns - begin_ns),
        Text(safe(_name(step))),
        _plain(step.n_tokens),
        _plain(step.position),
        _time(step.enqueued_ns),
        _time(step.completed_ns),
        _rate(rate),
        Text(safe(remark)),
    )


def _folded(steps: Sequence[Step]) -> tuple[str | Text, ...]:
    """Many steps in one row: medians, and the slowest at its end."""
    enqueued, completed = Distribution(), Distribution()
    for step in steps:
        if step.enqueued_ns is not None:
            enqueued.add(step.enqueued_ns)
        if step.completed_ns is not None:
            completed.add(step.completed_ns)
    tokens = sum(step.n_tokens or 0 for step in steps)
    half, whole = enqueued.figures, completed.figures
    rate = tokens * 1e9 / whole.total_ns if whole is not None and whole.total_ns > 0 else None
    if whole is not None and whole.count < len(steps):
        rate = None  # some of the tokens have no time
    remark = ""
    if whole is not None:
        remark = f"medians; p99 {duration(whole.p99_ns)}, slowest {duration(whole.longest_ns)}"
    return (
        "…",
        Text(safe(f"{len(steps)} x {_name(steps[0])}")),
        str(tokens),
        "",
        _time(half.median_ns if half is not None else None),
        _time(whole.median_ns if whole is not None else None),
        _rate(rate),
        Text(remark),
    )


# ---- sums ----


def _rates(request: Request) -> list[str]:
    lines = [_phase(name, row) for name, row in request.phases.items()]
    if request.first_token_ns is not None:
        lines.append(
            f"time to first token: {duration(request.first_token_ns)} "
            f"(end of {request.first_token_by})"
            if request.sampled
            else f"time to first token: {duration(request.first_token_ns)} ({request.first_token_by})"
        )
    else:
        lines.append(f"time to first token: {UNKNOWN} ({NO_FIRST})")
    lines.append(f"tokens sampled: {request.sampled}")
    missing = sum(
        step.completed_ns is None and step.failure is None and not step.is_open
        for step in request.steps
    )
    if missing:
        lines.append(f"{_count(missing, 'step')} without completion: {NOT_COMPLETED}")
    if request.counted:
        lines.append(f"llama.cpp's own counters: {_counted(request.counted)}")
    return lines


def _phase(name: str, row: PhaseSum) -> str:
    rate = row.tokens_per_s
    return (
        f"{name}: {_count(row.tokens, 'token')} in {_count(row.steps, 'step')}, "
        f"{duration(row.working.covered_ns) if rate is not None else UNKNOWN} to completion, "
        f"{_rate(rate)} tokens/s"
    )


def _counted(counted: dict[str, int]) -> str:
    parts = []
    for name in ("prefill", "decode", "sample"):
        tokens = counted.get(f"perf_{name}_tokens")
        elapsed_ns = counted.get(f"perf_{name}_ns")
        if tokens:
            within = f" in {duration(elapsed_ns)}" if elapsed_ns else ""
            parts.append(f"{name} {_count(tokens, 'token')}{within}")
    resets = counted.get("perf_resets")
    if resets:
        parts.append(_count(resets, "reset"))
    return ", ".join(parts) or "nothing moved"


#: What calls are about, by the beginnings of their names.
_ABOUT = (
    ("sampling", ("llama_sampler_sample", "llama_sample_")),
    ("tokens", ("llama_tokenize", "llama_detokenize", "llama_token_to_piece")),
    ("KV cache", ("llama_memory_", "llama_kv_")),
    ("state", ("llama_state_",)),
    ("waiting", ("llama_synchronize", "llama_get_logits", "llama_get_embeddings")),
)


def _calls(request: Request) -> list[str]:
    lines = []
    for about, prefixes in _ABOUT:
        told = [
            f"{name} {len(times)} x, {duration(figures.total_ns)}"
            for name, times in request.calls.items()
            if name.startswith(prefixes) and (figures := times.figures) is not None
        ]
        if told:
            lines.append(f"{about}: {'; '.join(told)}")
    return lines


def _memory(request: Request, pids: Sequence[int]) -> list[str]:
    devices = request.memory.devices
    if not devices:
        return [f"VRAM: {UNKNOWN} ({NO_READING})"]
    several = len({use.process for use in devices}) > 1
    return [_device(use, pids if several else ()) for use in devices]


def _device(use: DeviceUse, pids: Sequence[int]) -> str:
    whose = f" (process {pids[use.process]})" if use.process < len(pids) else ""
    simulated = "simulated " if use.simulated else ""
    total = f" of {size(use.total_bytes)}" if use.total_bytes is not None else ""
    begin = size(use.begin_bytes) if use.begin_bytes is not None else UNKNOWN
    return (
        f"VRAM on {simulated}gpu{use.device}{whose}: {begin} → {size(use.end_bytes)}, "
        f"peak {size(use.peak_bytes)}{total}"
    )


def _failures(request: Request) -> list[str]:
    return [
        f"failed at {duration(at_ns - request.begin_ns)}: {name}: {what}"
        for at_ns, name, what in request.failures
    ]


def _plain(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)


def _time(ns: int | None) -> str:
    return UNKNOWN if ns is None else duration(ns)


def _rate(rate: float | None) -> str:
    if rate is None:
        return UNKNOWN
    return f"{rate:.1f}" if rate < 1000 else f"{rate:.0f}"


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"
