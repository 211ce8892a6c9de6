"""Numbers for people: milliseconds and bytes."""

from __future__ import annotations

from collections.abc import Mapping

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def milliseconds(ns: int) -> str:
    """Nanoseconds in ms: three decimals below 10 ms, one above.

    >>> milliseconds(42_000), milliseconds(15_200_000)
    ('0.042', '15.2')
    """
    if abs(ns) < 9_999_500:
        return f"{ns / 1e6:.3f}"
    return f"{ns / 1e6:.1f}"


def size(count: int) -> str:
    """Bytes with a binary unit: at most one decimal.

    >>> size(512), size(1536), size(5 << 30)
    ('512 B', '1.5 KiB', '5.0 GiB')
    """
    value = float(abs(count))
    unit = 0
    while round(value, 1) >= 1024 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    sign = "-" if count < 0 else ""
    if unit == 0:
        return f"{sign}{abs(count)} B"
    return f"{sign}{value:.1f} {_UNITS[unit]}"


def device_name(facts: Mapping[str, object]) -> str | None:
    """The device of an event as text says it; None where it has none.

    >>> device_name({"device": 0}), device_name({"device": 1, "simulated": True})
    ('gpu0', 'simulated gpu1')
    """
    device = facts.get("device")
    if not isinstance(device, int):
        return None
    return f"{'simulated ' if facts.get('simulated') is True else ''}gpu{device}"


def duration(ns: int) -> str:
    """Nanoseconds in the unit that reads best, for columns that mix kernels and requests.

    >>> duration(840), duration(31_000), duration(15_200_000), duration(-2_500_000_000)
    ('840 ns', '31.0 µs', '15.20 ms', '-2.50 s')
    """
    size_ns = abs(ns)
    if size_ns < 1_000:
        return f"{ns} ns"
    if size_ns < 999_950:
        return f"{ns / 1e3:.1f} µs"
    if size_ns < 999_995_000:
        return f"{ns / 1e6:.2f} ms"
    return f"{ns / 1e9:.2f} s"
