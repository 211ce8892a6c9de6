"""Stripping files and directories into another place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gpu_narration._errors import GpuNarrationError
from gpu_narration.stripping.analysis import MENTION
from gpu_narration.stripping.source import StripError, Stripped, look_at_source, strip_source

#: What Python and version control keep beside sources.
_NOT_COPIED = frozenset({"__pycache__", ".git", ".hg", ".svn", ".venv", ".tox", ".mypy_cache"})


class StripOutputError(GpuNarrationError):
    """The stripped sources cannot go where they were to go."""

    slug: ClassVar[str] = "strip-output"


@dataclass(frozen=True, slots=True)
class File:
    """A source file and where it lies below the directory that was given."""

    path: Path
    inside: Path


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one file; ``problem`` says why it was left as it is."""

    file: File
    before: bytes
    stripped: Stripped
    problem: str = ""


def sources(given: Path) -> list[File]:
    """The Python files of a directory, in order; or the one file. Raises OSError."""
    if given.is_dir():
        return [file for file in _files(given) if _is_source(file.path)]
    if not given.exists():
        raise FileNotFoundError(f"there is no file or directory {given}")
    return [File(given, Path(given.name))]


def strip_bytes(file: File, before: bytes) -> Result:
    """Strips what is in a file; what does not parse is left as it is.

    Raises :class:`MissingExtraError` and :class:`StripError`.
    """
    return _result(file, before, strip_source)


def look_at(file: File, before: bytes) -> Result:
    """What could be taken out of a file."""
    return _result(file, before, look_at_source)


def _result(file: File, before: bytes, strip: Callable[[bytes], Stripped]) -> Result:
    if MENTION not in before:
        return Result(file, before, Stripped(before))
    try:
        return Result(file, before, strip(before))
    except StripError as error:
        raise StripError(
            f"{file.path}: {error.problem}", meaning=error.meaning, next_step=error.next_step
        ) from error
    except (SyntaxError, ValueError, RecursionError) as error:
        # Test data, templates, Python 2: nothing that could be imported.
        return Result(file, before, Stripped(before), f"is no source of this Python ({error})")


def prepare_output(given: Path, output: Path, *, overwrite: bool) -> None:
    """Sees to it that the output can be made; raises :class:`StripOutputError`."""
    source, target = given.resolve(), output.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise StripOutputError(
            f"{output} and {given} lie in each other",
            meaning="sources are never stripped in place",
            next_step="choose a directory beside them",
        )
    taken = output.exists() and not (output.is_dir() and not any(output.iterdir()))
    if taken and not overwrite:
        raise StripOutputError(
            f"{output} exists already",
            next_step="choose another, or say --overwrite, which removes nothing else there",
        )


def write_tree(given: Path, output: Path, done: Callable[[Result], object]) -> list[Result]:
    """Copies everything there is, Python sources stripped; tells ``done`` of each of them."""
    if not given.is_dir():
        (file,) = sources(given)
        output.parent.mkdir(parents=True, exist_ok=True)
        return [_write(file, output, done)]
    results = []
    output.mkdir(parents=True, exist_ok=True)
    for file in _files(given):
        target = output / file.inside
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            target.unlink()  # of a run before: what it points to is not ours to write
        if _is_source(file.path) and not file.path.is_symlink():
            results.append(_write(file, target, done))
        elif file.path.is_symlink() or file.path.is_file():
            shutil.copy2(file.path, target, follow_symlinks=False)
    return results


def _is_source(path: Path) -> bool:
    """Whether there is a Python source: neither a link to nowhere nor a pipe."""
    return path.suffix == ".py" and path.is_file()


def _write(file: File, target: Path, done: Callable[[Result], object]) -> Result:
    result = strip_bytes(file, file.path.read_bytes())
    target.write_bytes(result.stripped.text)
    shutil.copymode(file.path, target)
    done(result)
    return result


def _files(directory: Path) -> Iterator[File]:
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in _NOT_COPIED)
        links = [name for name in folders if Path(folder, name).is_symlink()]  # not walked into
        for name in sorted([*names, *links]):
            path = Path(folder, name)
            if path.suffix != ".pyc":
                yield File(path, path.relative_to(directory))
