"""Reading what nvtx_tool.c has logged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

#: Taken over as they are.
_PLAIN = (
    "message", "message_type", "payload_type", "payload", "range", "unit", "min", "max", "value",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NvtxCall:
    """One call that the tool received; domain and category by their names."""

    pid: int
    seq: int
    tid: int
    call: str
    domain: str | None
    category: str | None = None
    message: str | None = None
    message_type: int | None = None
    payload_type: int | None = None
    payload: int | None = None
    range: int | None = None
    #: Of counters and their samples, by name.
    counter: str | None = None
    unit: str | None = None
    min: int | None = None
    max: int | None = None
    value: int | None = None


class NvtxLog:
    """All calls of a log, in the order they were made."""

    def __init__(self, path: Path) -> None:
        self.calls: list[NvtxCall] = []
        #: (domain, text) of every registered string, with repetitions.
        self.strings: list[tuple[str | None, str]] = []
        self._domains: dict[tuple[int, int], str] = {}
        self._counters: dict[tuple[int, int], str] = {}
        self._categories: dict[tuple[int, int, int], str] = {}
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                self._take(json.loads(line))

    def of(self, *calls: str) -> list[NvtxCall]:
        """The calls of these names, in order."""
        return [call for call in self.calls if call.call in calls]

    def samples(self, counter: str) -> list[int | None]:
        """The values of a counter, in order."""
        return [call.value for call in self.of("sample") if call.counter == counter]

    def count(self, call: str) -> int:
        return len(self.of(call))

    def shape(self) -> list[str]:
        """The order of what opened, closed and was marked: ``push decode``, ``pop``, …"""
        return [
            " ".join(filter(None, (call.call, call.message)))
            for call in self.of("push", "pop", "start", "end", "mark")
        ]

    def unbalanced(self) -> list[str]:
        """What a viewer would show as an error or as open for ever; empty if nothing."""
        wrong: list[str] = []
        depth: dict[tuple[int, int, str | None], list[str]] = {}
        open_ranges: dict[tuple[int, int | None], str] = {}
        for call in self.calls:
            pushed = depth.setdefault((call.pid, call.tid, call.domain), [])
            if call.call == "push":
                pushed.append(str(call.message))
            elif call.call == "pop":
                if pushed:
                    pushed.pop()
                else:
                    wrong.append(f"thread {call.tid} popped what it had not pushed")
            elif call.call == "start":
                open_ranges[call.pid, call.range] = str(call.message)
            elif call.call == "end" and open_ranges.pop((call.pid, call.range), None) is None:
                wrong.append(f"range {call.range} ended that was not open")
        for (_, tid, _), names in depth.items():
            wrong += [f"push {name} of thread {tid} was never popped" for name in names]
        wrong += [f"start {name} was never ended" for name in open_ranges.values()]
        return wrong

    def _take(self, line: dict[str, object]) -> None:
        pid, seq, tid, number = (_int(line[key]) for key in ("pid", "seq", "tid", "domain"))
        call = str(line["call"])
        if call == "domain":
            self._domains[pid, number] = str(line["name"])
        domain = self._domains.get((pid, number))
        if call == "category":
            self._categories[pid, number, _int(line["category"])] = str(line["name"])
        if call == "string":
            self.strings.append((domain, str(line["text"])))
        counter = line.get("counter")
        if call == "counter":
            self._counters[pid, _int(counter)] = str(line["name"])
        category = line.get("category")
        self.calls.append(
            NvtxCall(
                pid, seq, tid, call, domain,
                None if category is None else self._categories.get((pid, number, _int(category))),
                **{
                    key: line[key]  # type: ignore[arg-type]
                    for key in _PLAIN
                    if key in line
                },
                counter=None if counter is None else self._counters.get((pid, _int(counter))),
            )
        )  # fmt: skip


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
