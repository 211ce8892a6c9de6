"""Being told of an import: once, behind it, and with the module none the wiser."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_narration.ffi.llama.imports import Watch

NAME = "watched_by_a_test.inner"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = tmp_path / "watched_by_a_test"
    directory.mkdir()
    (directory / "__init__.py").write_text("from watched_by_a_test import inner\n")
    (directory / "inner.py").write_text("value = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield directory
    for name in [name for name in sys.modules if name.startswith("watched_by_a_test")]:
        del sys.modules[name]


@pytest.fixture
def told() -> Iterator[list[int]]:
    """The values that the module had when its import was told."""
    values: list[int] = []
    watch = Watch((NAME,), lambda module: values.append(module.value))
    watch.begin()
    watch.begin()
    yield values
    watch.end()
    watch.end()
    assert watch not in sys.meta_path


def test_the_import_is_told_once_and_behind_the_module(package: Path, told: list[int]) -> None:
    importlib.import_module("watched_by_a_test")
    importlib.import_module(NAME)

    assert told == [7]


def test_the_module_keeps_the_loader_that_it_has_without_us(package: Path, told: list[int]) -> None:
    module = importlib.import_module(NAME)

    loaders = {type(module.__loader__).__name__, type(module.__spec__.loader).__name__}
    assert loaders == {"SourceFileLoader"}


def test_a_module_that_cannot_be_imported_fails_as_ever(package: Path, told: list[int]) -> None:
    (package / "inner.py").write_text("raise LookupError('its own')\n")

    with pytest.raises(LookupError, match="its own"):
        importlib.import_module(NAME)
    assert told == []


def test_a_module_that_is_not_there_is_not_found(package: Path, told: list[int]) -> None:
    (package / "inner.py").unlink()
    (package / "__init__.py").write_text("")

    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(NAME)
