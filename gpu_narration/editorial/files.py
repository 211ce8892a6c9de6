"""Which files are read: those that are named, and the Python sources below folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpu_narration.editorial.settings import Settings

_SUFFIXES = {".py", ".pyw"}
NOTEBOOK = ".ipynb"


def sources(
    paths: Iterable[Path], settings: Settings, *, force_exclude: bool = False
) -> Iterator[Path]:
    """The files to read, each once, in the order of their names below each path.

    A file that is named is read whatever its suffix, and even if it is excluded, unless
    ``force_exclude``.  Links to folders are not followed; virtual environments are left out.
    """
    seen: set[Path] = set()
    for path in paths:
        if force_exclude and _lies_in_excluded(path, settings):
            continue
        for file in _below(path, settings) if path.is_dir() else [path]:
            real = Path(os.path.realpath(file))
            if real not in seen:
                seen.add(real)
                yield file


def _below(folder: Path, settings: Settings) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        here = Path(where)
        folders[:] = sorted(name for name in folders if not _is_left_out(here / name, settings))
        for name in sorted(names):
            file = here / name
            if (
                file.suffix in _SUFFIXES
                and file.is_file()
                and not settings.is_excluded(file.absolute())
            ):
                yield file


def _is_left_out(folder: Path, settings: Settings) -> bool:
    return settings.is_excluded(folder.absolute()) or (folder / "pyvenv.cfg").is_file()


def _lies_in_excluded(path: Path, settings: Settings) -> bool:
    whole = path.absolute()
    inside = [
        part
        for part in (whole, *whole.parents)
        if part.is_relative_to(settings.root) and part != settings.root
    ]
    return any(settings.is_excluded(part) for part in inside)
