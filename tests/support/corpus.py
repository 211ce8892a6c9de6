"""The corpora of redaction: secrets, and what only looks like one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).resolve().parent.parent / "data"
_CONTROLS = str.maketrans("␊␍␉␛␀", "\n\r\t\x1b\0")


class Secret(NamedTuple):
    before: str
    secret: str
    after: str

    @property
    def text(self) -> str:
        return "".join(self)


def _lines(name: str) -> list[str]:
    lines = (DATA / name).read_text(encoding="utf-8").split("\n")
    return [line.translate(_CONTROLS) for line in lines if line and not line.startswith("#")]


def secrets() -> list[Secret]:
    found = []
    for line in _lines("secrets.txt"):
        before, _, rest = line.replace("¦", "").partition("«")
        secret, _, after = rest.partition("»")
        assert secret, line
        found.append(Secret(before, secret, after))
    return found


def lookalikes() -> list[str]:
    return _lines("lookalikes.txt")
