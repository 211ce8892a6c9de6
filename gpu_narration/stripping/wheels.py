"""Stripping a built wheel: its sources, and the RECORD that vouches for them.

The format is that of the "Binary distribution format" specification of PyPA.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from gpu_narration.stripping.trees import File, Result, StripOutputError, strip_bytes

#: Signatures of the old RECORD would be wrong.
_SIGNATURES = (".dist-info/RECORD.jws", ".dist-info/RECORD.p7s")


def strip_wheel(wheel: Path, output: Path) -> list[Result]:
    """Writes a wheel without trace calls; what became of its sources.

    The wheel itself is not changed.  Raises OSError, :class:`StripOutputError` for what is
    no wheel, and what :func:`~gpu_narration.stripping.trees.strip_bytes` raises.
    """
    results = []
    try:
        with _opened(wheel) as old, zipfile.ZipFile(output, "w") as new:
            record = _record_of(old, wheel)
            written: dict[str, bytes] = {}
            for info in old.infolist():
                if info.filename == record or info.filename.endswith(_SIGNATURES):
                    continue
                data = old.read(info)
                if info.filename.endswith(".py"):
                    results.append(strip_bytes(_member(wheel, info), data))
                    data = results[-1].stripped.text
                written[info.filename] = data
                new.writestr(info, data, info.compress_type)
            new.writestr(old.getinfo(record), _record(written, record), zipfile.ZIP_DEFLATED)
    except BaseException:
        output.unlink(missing_ok=True)
        raise
    return results


def strip_members(wheel: Path, strip: Callable[[File, bytes], Result]) -> list[Result]:
    """What ``strip`` says of the sources in a wheel; raises :class:`StripOutputError`."""
    with _opened(wheel) as old:
        return [
            strip(_member(wheel, info), old.read(info))
            for info in old.infolist()
            if info.filename.endswith(".py")
        ]


def _member(wheel: Path, info: zipfile.ZipInfo) -> File:
    return File(wheel / info.filename, Path(info.filename))


@contextlib.contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as opened:
            yield opened
    except zipfile.BadZipFile as error:
        raise StripOutputError(
            f"{wheel} is no wheel", meaning=f"{error}", next_step="build it again"
        ) from error


def _record_of(wheel: zipfile.ZipFile, path: Path) -> str:
    found = [
        name
        for name in wheel.namelist()
        if PurePosixPath(name).match("*.dist-info/RECORD") and name.count("/") == 1
    ]
    if len(found) != 1:
        raise StripOutputError(
            f"{path} is no wheel", meaning="it has no RECORD", next_step="build it again"
        )
    return found[0]


def _record(files: dict[str, bytes], record: str) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for name, data in files.items():
        if not name.endswith("/"):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.writerow([name, f"sha256={digest}", len(data)])
    rows.writerow([record, "", ""])
    return text.getvalue()
