"""The markers' arguments: sizes, times, and what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pytest

Kind = Literal["vram_limit", "vram_leak", "gpu_time_limit"]

#: What ``pytest --markers`` shows.
MARKERS: dict[Kind, str] = {
    "vram_limit": 'vram_limit("2 GiB"): the test fails if device memory rises further than that '
    "above what it was at its start",
    "vram_leak": 'vram_leak(tolerance="1 MiB"): the test fails if more than that stays taken at '
    "its end; what a caching pool keeps unused does not count",
    "gpu_time_limit": 'gpu_time_limit("5 ms"): the test fails if its launches and gpu=True scopes '
    "keep a GPU busy for longer",
}

_SIZES = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}  # fmt: skip
_TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}
_QUANTITY = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([^\W\d_]{1,3})\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """One marker of a test; ``value`` in bytes or ns, ``text`` as the test has it."""

    kind: Kind
    value: int
    text: str


def parse_size(given: object) -> int:
    """Bytes of ``"2 GiB"``, or of an int.

    >>> parse_size("1.5 MiB"), parse_size("2 GB"), parse_size(4096)
    (1572864, 2000000000, 4096)

    Raises ValueError.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        if given < 0:
            raise ValueError(f"{given} is less than nothing")
        return given
    found = _QUANTITY.fullmatch(given) if isinstance(given, str) else None
    if found is None or found[2] not in _SIZES:
        raise ValueError(
            f"{given!r} is no size; write it as '2 GiB', '512 MiB' or a number of bytes"
        )
    return round(float(found[1]) * _SIZES[found[2]])


def parse_time(given: object) -> int:
    """Nanoseconds of ``"5 ms"``.

    >>> parse_time("5 ms"), parse_time("0.5us")
    (5000000, 500)

    Raises ValueError; a number alone has no unit.
    """
    found = _QUANTITY.fullmatch(given) if isinstance(given, str) else None
    if found is None or found[2] not in _TIMES:
        raise ValueError(f"{given!r} is no time; write it as '5 ms', '250 us' or '1.5 s'")
    return round(float(found[1]) * _TIMES[found[2]])


def limits_of(item: pytest.Item) -> list[Limit]:
    """The limits of a test; of each kind the nearest marker.

    Raises ValueError for arguments that a marker cannot have.
    """
    return [
        _limit(kind, marker)
        for kind in MARKERS
        if (marker := item.get_closest_marker(kind)) is not None
    ]


def _limit(kind: Kind, marker: pytest.Mark) -> Limit:
    name = "tolerance" if kind == "vram_leak" else "limit"
    given = dict(marker.kwargs)
    values = [*marker.args, *([given.pop(name)] if name in given else [])]
    if kind == "vram_leak" and not values:
        values = [0]
    if given or len(values) != 1:
        what = f"an unknown argument {next(iter(given))!r}" if given else f"{len(values)} arguments"
        raise ValueError(f"@pytest.mark.{kind} has {what}; it is {MARKERS[kind].partition(':')[0]}")
    try:
        value = parse_time(values[0]) if kind == "gpu_time_limit" else parse_size(values[0])
    except ValueError as error:
        raise ValueError(f"@pytest.mark.{kind}: {error}") from None
    return Limit(kind, value, str(values[0]))
