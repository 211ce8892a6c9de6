"""Who may import whom: the rooms of the package, checked by reading its sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpu_narration

ROOT = Path(gpu_narration.__file__).resolve().parent
CORE = ROOT / "_core"

#: Rooms in layers: a room imports only from layers before its own, or from itself.
_LEAVES = {
    "_escape": -1,
    "_types": 0, "_errors": 0, "_version": 0, "_marker": 0, "_environment": 0,
}  # fmt: skip
RECORDING = {
    **_LEAVES,
    "_core": 1, "kernels": 1, "stripping": 1,
    "_summary": 2, "contexts": 2, "filters": 2, "redaction": 2, "tracedir": 2, "watcher": 2,
    "console": 2, "control": 2, "endings": 2, "_interrupts": 2, "flight": 2, "signals": 2,
    "_options": 3, "editorial": 3, "tracing": 3,
    "cuda": 4, "narration": 4,
    "ffi": 5,
    "gpu_side": 5,
    "recording": 6,
    "recorder": 7,
    "__init__": 8,
    "demo": 9,
}  # fmt: skip
READING = {
    **_LEAVES,
    "tracefile": 1, "nsight": 1,
    "timeline": 2,
    "views": 3,
}  # fmt: skip
#: Rooms above both halves.
UPPER = {"bridges", "cli", "testing"}


def _sources() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts)


def room_of(module: str) -> str:
    """The room of a module of the package; its root is a room of its own."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(source: str, module: str) -> Iterator[str]:
    """The modules of this package that a source imports anywhere but for types alone."""
    for node in _walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
            if base == "gpu_narration":
                yield from (_member(alias.name) for alias in node.names)
            elif _ours(base):
                yield base


def _ours(name: str) -> bool:
    return name == "gpu_narration" or name.startswith("gpu_narration.")


def _member(name: str) -> str:
    """What ``from gpu_narration import name`` loads: a module, or the root itself."""
    is_module = (ROOT / f"{name}.py").exists() or (ROOT / name).is_dir()
    return f"gpu_narration.{name}" if is_module else "gpu_narration"


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but what stands under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from _walk(other)
            continue
        yield child
        yield from _walk(child)


def forbidden(room: str, imported: str) -> bool:
    """Whether a room may not import another."""
    if room == imported or room in UPPER:
        return False
    half = RECORDING if room in RECORDING else READING
    return imported not in half or half[imported] >= half[room]


@pytest.mark.parametrize("path", _sources(), ids=_name)
def test_every_file_lies_in_a_known_room(path: Path) -> None:
    assert room_of(f"gpu_narration.{_name(path)}") in {*RECORDING, *READING, *UPPER}


@pytest.mark.parametrize("path", _sources(), ids=_name)
def test_no_file_imports_what_lies_above_it_or_in_the_other_half(path: Path) -> None:
    module = f"gpu_narration.{_name(path)}"
    wrong = [
        name
        for name in imports_of(path.read_text(encoding="utf-8"), module)
        if forbidden(room_of(module), room_of(name))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("room", "imported"),
    [
        ("tracefile", "recorder"),
        ("views", "tracing"),
        ("tracefile", "views"),
        ("cuda", "recorder"),
        ("_core", "filters"),
        ("recorder", "tracefile"),
        ("console", "views"),
        ("recorder", "cli"),
        ("tracefile", "__init__"),
        ("timeline", "tracedir"),
        ("nsight", "timeline"),
        ("nsight", "tracedir"),
        ("demo", "views"),
        ("kernels", "cuda"),
    ],
)
def test_the_rule_forbids_what_it_should(room: str, imported: str) -> None:
    assert forbidden(room, imported)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import gpu_narration.views.text", ["gpu_narration.views.text"]),
        ("from gpu_narration import _core", ["gpu_narration._core"]),
        ("from gpu_narration import start", ["gpu_narration"]),
        ("def f():\n from gpu_narration.cuda import x", ["gpu_narration.cuda"]),
        ("from . import x", ["gpu_narration.room"]),
        ("from ..views import x", ["gpu_narration.views"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n import gpu_narration.cli", []),
        ("import os, gpu_narration_other", []),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, found: list[str]) -> None:
    assert list(imports_of(source, "gpu_narration.room.module")) == found


# ---- the core, by text ----


def _c_files(boundary: bool) -> list[Path]:
    files = [path for path in CORE.rglob("*") if path.suffix in {".c", ".h"}]
    return sorted(path for path in files if (path.parent.name == "boundary") is boundary)


def _includes(path: Path) -> list[str]:
    return re.findall(
        r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(encoding="utf-8"), re.MULTILINE
    )


def test_the_core_has_files_on_both_sides() -> None:
    assert len(_c_files(boundary=False)) >= 8
    assert len(_c_files(boundary=True)) >= 2


@pytest.mark.parametrize("path", _c_files(boundary=False), ids=lambda path: path.name)
def test_no_plain_c_file_includes_python_or_the_boundary(path: Path) -> None:
    beyond = {file.name for file in _c_files(boundary=True)} | {"Python.h", "structmember.h"}
    assert [name for name in _includes(path) if Path(name).name in beyond] == []


@pytest.mark.parametrize("path", _c_files(boundary=False), ids=lambda path: path.name)
def test_a_plain_c_file_includes_only_its_neighbours_and_the_system(path: Path) -> None:
    own = re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in own if not (CORE / name).is_file()] == []


def test_python_is_included_by_the_boundary_alone() -> None:
    """GIVEN the whole package THEN Python.h appears in the boundary's files and nowhere else."""
    sources = [path for path in ROOT.rglob("*") if path.suffix in {".c", ".h", ".cu", ".cpp"}]
    with_python = {path.parent for path in sources if "Python.h" in _includes(path)}
    assert with_python == {CORE / "boundary"}
