"""The tree of spans as a table for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.text import Text

from gpu_narration.timeline.tree import Node
from gpu_narration.views.escape import safe
from gpu_narration.views.nsys import UNKNOWN, table_console, titled_table
from gpu_narration.views.units import duration
from gpu_narration.views.vram_plot import signed


def print_tree(
    rows: Sequence[tuple[Node, int]], out: TextIO, *, color: bool, total: int, adrift: int
) -> None:
    """Prints nodes and how deep each lies; ``total`` is how many there are."""
    console = table_console(out, color=color)
    nodes = [node for node, _ in rows]
    failures, still_open = any(node.failed for node in nodes), any(node.open for node in nodes)
    reports = any(node.joined for node in nodes)
    simulated = any(node.simulated for node in nodes)
    table = titled_table(
        f"Spans by their nesting{' (simulated)' if simulated else ''}", "span", "calls",
        *(["failed"] if failures else []), *(["open"] if still_open else []),
        "CPU", "own", "on stream", "launches", "GPU busy", *(["kernels", "kernel time"] if reports else []),
        "lag", "VRAM",
    )  # fmt: skip
    for node, depth in rows:
        table.add_row(
            Text("  " * depth + _name(node)), f"{node.calls:,}",
            *([_count(node.failed)] if failures else []), *([_count(node.open)] if still_open else []),
            _cpu(node, node.cpu_ns), _cpu(node, node.own_ns),
            _least(node.stream_ns, node.stream_timed, node.calls), _count(node.launches), _busy(node),
            *([f"{node.kernels:,}" if node.joined else UNKNOWN,
               duration(node.kernel_busy_ns) if node.joined else UNKNOWN] if reports else []),
            UNKNOWN if node.lag_ns is None else duration(node.lag_ns), _memory(node),
        )  # fmt: skip
    console.print(table)
    for line in _footnotes(nodes, total, adrift):
        console.print(Text(safe(line)), soft_wrap=True)


def tree_object(rows: Sequence[tuple[Node, int]], *, adrift: int) -> dict[str, object]:
    """The same as plain values: times in ns, memory in bytes, null where it is not known."""
    objects: dict[Node, dict[str, object]] = {}
    top: list[dict[str, object]] = []
    inside: dict[Node, list[dict[str, object]]] = {}
    for node, _ in rows:
        inside[node] = []
        objects[node] = _object(node) | {"inside": inside[node]}
        (top if node.parent is None else inside[node.parent]).append(objects[node])
    return {"tree": top, "without_outer_span": adrift}


def _object(node: Node) -> dict[str, object]:
    known = node.is_launch or node.calls > node.open
    return {
        "actor": node.actor,
        "name": node.name,
        "launch": node.is_launch,
        "simulated": node.simulated,
        "calls": node.calls,
        "failed": node.failed,
        "open": node.open,
        "cpu_ns": node.cpu_ns if known and not node.is_launch else None,
        "own_cpu_ns": node.own_ns if known and not node.is_launch else None,
        "elapsed_on_stream_ns": node.stream_ns if node.stream_timed else None,
        "timed_on_stream": node.stream_timed,
        "launches": node.launches,
        "placed_launches": node.placed,
        "gpu_busy_ns": node.busy_ns,
        "lag_median_ns": node.lag_ns,
        "lag_of": None if node.lag_ns is None else "launches" if node.placed else "span",
        "joined": node.joined,
        "kernels": node.kernels if node.joined else None,
        "kernel_busy_ns": node.kernel_busy_ns if node.joined else None,
        "vram_net_bytes": node.net_bytes,
        "vram_peak_bytes": node.peak_bytes,
        "vram_doubts": node.memory_doubts,
    }


def _name(node: Node) -> str:
    return safe(f"{node.actor} {node.name}{' (launch)' if node.is_launch else ''}")


def _cpu(node: Node, ns: int) -> str:
    return UNKNOWN if node.is_launch or node.calls == node.open else duration(ns)


def _least(ns: int, timed: int, calls: int) -> str:
    if not timed:
        return UNKNOWN
    return ("≥ " if timed < calls else "") + duration(ns)


def _busy(node: Node) -> str:
    return UNKNOWN if node.busy_ns is None else _least(node.busy_ns, node.placed, node.launches)


def _memory(node: Node) -> str:
    if node.net_bytes is None:
        return UNKNOWN
    return signed(node.net_bytes) + ("*" if node.memory_doubts else "")


def _count(count: int) -> str:
    return f"{count:,}" if count else ""


def _footnotes(nodes: Sequence[Node], total: int, adrift: int) -> list[str]:
    lines = []
    if total > len(nodes):
        lines.append(f"… and {total - len(nodes):,} more rows")
    lines += [
        f"* {_name(node)}: {count:,} of its calls or moves: {reason}"
        for node in nodes
        if node.net_bytes is not None
        for reason, count in node.memory_doubts.items()
    ]
    if adrift:
        spans = "1 span" if adrift == 1 else f"{adrift:,} spans"
        lines.append(f"{spans} at the top: what was round them is not in the trace")
    return lines
