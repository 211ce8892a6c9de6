"""The scopes' memory as a table for a terminal, and as JSON.

What is unknown is shown as a dash, never as 0, and its reasons are counted below.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TextIO

from rich.table import Table
from rich.text import Text

from gpu_narration.timeline.vram_devices import DeviceMemory, names
from gpu_narration.timeline.vram_scopes import OTHERS, ScopeName, ScopeRow
from gpu_narration.views.escape import safe
from gpu_narration.views.tables import TableConsole
from gpu_narration.views.units import size
from gpu_narration.views.vram_plot import signed

UNKNOWN = "\N{EN DASH}"

#: As wide as the table needs to be: narrower terminals break its lines themselves.
_NARROWEST, _UNBOUNDED = 120, 10_000


def print_scopes(
    devices: Sequence[DeviceMemory],
    rows: Sequence[ScopeRow],
    out: TextIO,
    *,
    color: bool,
    limit: int,
    pids: Sequence[int] = (),
) -> None:
    """Prints the devices, one line each, and the table; ``limit`` rows, all if it is 0."""
    width = shutil.get_terminal_size().columns if out.isatty() else _UNBOUNDED
    console = TableConsole(
        file=out, force_terminal=color, no_color=not color, highlight=False,
        width=max(width, _NARROWEST),
    )  # fmt: skip
    named = names(devices, pids)
    for device in devices:
        console.print(Text(_device_line(device, named[id(device)])), soft_wrap=True)
    if rows:
        shown = rows[:limit] if limit else rows
        console.print()
        console.print(_table(shown, named))
        if len(rows) > len(shown):
            console.print(Text(f"… and {len(rows) - len(shown)} more rows"))
    for line in _footnotes(rows, named):
        console.print(Text(line), soft_wrap=True)


def scopes_object(
    devices: Sequence[DeviceMemory],
    rows: Sequence[ScopeRow],
    *,
    limit: int = 0,
    pids: Sequence[int] = (),
) -> dict[str, object]:
    """The same as plain values: bytes, and null where something is not known."""
    named = names(devices, pids)
    return {
        "devices": [_device_object(device, named[id(device)], pids) for device in devices],
        "scopes": [_row_object(row, named[id(row.device)]) for row in rows[: limit or None]],
    }


def scope_name(scope: ScopeName) -> str:
    if scope is None:
        return "(outside all scopes)"
    return "(another process)" if scope == OTHERS else " ".join(scope)


def _device_line(device: DeviceMemory, name: str) -> str:
    if device.first_bytes is None:
        return safe(f"{name}: unknown" + (f", {device.lost}" if device.lost else ""))
    total = f" of {size(device.total_bytes)}" if device.total_bytes is not None else ""
    moves = "1 move" if device.moves == 1 else f"{device.moves} moves"
    text = (
        f"{name}: first {_size(device.first_bytes)}, peak {_size(device.peak_bytes)}, "
        f"last {_size(device.last_bytes)}{total}; {moves}, {_sources(device.sources)}"
    )
    return safe(text + (f"; lost: {device.lost}" if device.lost else ""))


def _table(rows: Sequence[ScopeRow], named: dict[int, str]) -> Table:
    pools = any(row.live is not None or row.cached is not None for row in rows)
    still_open = any(row.open for row in rows)
    simulated = any(row.device.simulated for row in rows)
    table = Table(
        title=f"VRAM by scope{' (simulated)' if simulated else ''}: with the scopes inside, and own",
        title_justify="left", title_style="bold", box=None, pad_edge=False,
    )  # fmt: skip
    table.add_column("scope", overflow="fold")
    for column in (
        "device", "calls", *(["open"] if still_open else []), "rose", "fell", "net", "own",
        "largest rise", "peak", *(["live", "cached"] if pools else []), "source", "requests",
    ):  # fmt: skip
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        known = row.known > 0
        table.add_row(
            Text(safe(scope_name(row.scope))), Text(safe(named[id(row.device)])),
            str(row.calls or UNKNOWN), *([str(row.open)] if still_open else []),
            *([size(row.rose), size(row.fell), signed(row.net), signed(row.own),
               size(row.largest_rise)] if known else [UNKNOWN] * 5),
            _size(row.peak),
            *([_signed(row.live), _signed(row.cached)] if pools else []),
            _sources(row.sources) + ("*" if row.shared else ""), str(len(row.requests)),
        )  # fmt: skip
    return table


def _footnotes(rows: Sequence[ScopeRow], named: dict[int, str]) -> list[str]:
    lines = []
    for row in rows:
        where = safe(f"{scope_name(row.scope)} on {named[id(row.device)]}")
        for reason, count in row.shared.items():
            lines.append(
                f"* {where}: {_calls(count)} counted by moves alone, since edges of calls that "
                f"overlap cannot be told apart: {safe(reason)}"
            )
        for reason, count in row.unknown.items():
            lines.append(f"{where}: {_calls(count)} without readings at the edges: {safe(reason)}")
        for reason, count in row.unsure.items():
            moves = "1 move" if count == 1 else f"{count} moves"
            lines.append(f"{where}: {moves} may belong elsewhere: {reason}")
    lines += [
        f"{safe(named[id(device)])} was watched by {len(device.processes)} processes: each tells "
        "what it saw, so one move may stand under scopes of several"
        for device in {id(row.device): row.device for row in rows}.values()
        if device.moves and len(device.processes) > 1
    ]
    return ["", *lines] if lines else []


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"


def _size(count: int | None) -> str:
    return UNKNOWN if count is None else size(count)


def _signed(count: int | None) -> str:
    return UNKNOWN if count is None else signed(count)


def _sources(sources: set[str]) -> str:
    return safe("+".join(sorted(sources))) or UNKNOWN


def _device_object(device: DeviceMemory, name: str, pids: Sequence[int]) -> dict[str, object]:
    process = device.process
    return {
        "name": name,
        "device": device.index,
        "uuid": device.uuid,
        "pid": pids[process] if process is not None and process < len(pids) else None,
        "simulated": device.simulated,
        "sources": sorted(device.sources),
        "moves": device.moves,
        "first_bytes": device.first_bytes,
        "peak_bytes": device.peak_bytes,
        "last_bytes": device.last_bytes,
        "total_bytes": device.total_bytes,
        "lost": device.lost,
        "watched_by": len(device.processes),
    }


def _row_object(row: ScopeRow, name: str) -> dict[str, object]:
    known = row.known > 0
    actor, scope = (None, None) if row.scope is None or row.scope == OTHERS else row.scope
    return {
        "actor": actor,
        "scope": scope,
        "by": "others" if row.scope == OTHERS else "outside" if row.scope is None else "scope",
        "device": row.device.index,
        "device_name": name,
        "uuid": row.device.uuid,
        "simulated": row.device.simulated,
        "calls": row.calls or None,
        "open": row.open,
        "rose_bytes": row.rose if known else None,
        "fell_bytes": row.fell if known else None,
        "net_bytes": row.net if known else None,
        "own_net_bytes": row.own if known else None,
        "largest_rise_bytes": row.largest_rise if known else None,
        "peak_bytes": row.peak,
        "live_delta_bytes": row.live,
        "cached_delta_bytes": row.cached,
        "sources": sorted(row.sources),
        "requests": len(row.requests),
        "shared": row.shared,
        "unknown": row.unknown,
        "unsure_moves": row.unsure,
    }
