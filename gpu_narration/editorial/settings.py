"""What is checked: the table ``[tool.gpu_narration.lint]`` of a pyproject.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gpu_narration._errors import OptionError
from gpu_narration.editorial.finding import Finding
from gpu_narration.editorial.rules import ALWAYS, codes_of

#: Folders that hold no sources of the project, by name.
EXCLUDED = (
    ".*", "__pycache__", "__pypackages__", "_build", "build", "buck-out", "dist", "env", "node_modules",
    "site-packages", "venv", "*.egg-info",
)  # fmt: skip
_KEYS = ("select", "ignore", "exclude", "extend-exclude", "per-file-ignores")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is checked.  Patterns of paths are relative to ``root``."""

    select: tuple[str, ...] = ("GN",)
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = EXCLUDED
    per_file: dict[str, tuple[str, ...]] = field(default_factory=dict)
    root: Path = Path()

    def with_codes(self, select: tuple[str, ...], ignore: tuple[str, ...]) -> Settings:
        """With the codes of the command line instead of its own, where there are any.

        Raises OptionError for a code that there is not.
        """
        changed = self
        if select:
            changed = replace(changed, select=codes_of(select, "--select"))
        if ignore:
            changed = replace(changed, ignore=codes_of(ignore, "--ignore"))
        return changed

    def wants(self, finding: Finding, path: Path | None = None) -> bool:
        """Whether a finding is reported.  Of two prefixes the longer one decides."""
        code = finding.code
        if code in ALWAYS:
            return True
        if path is not None:
            for pattern, prefixes in self.per_file.items():
                if code.startswith(prefixes) and self.matches(path, (pattern,)):
                    return False
        return _longest(self.select, code) > _longest(self.ignore, code)

    def is_excluded(self, path: Path) -> bool:
        """Whether a file or folder is left out: it, not what it lies in."""
        return self.matches(path, self.exclude)

    def matches(self, path: Path, patterns: tuple[str, ...]) -> bool:
        """Whether one of some patterns is for a path: by its name, or its path below the root."""
        names = [path.name]
        if path.is_relative_to(self.root):
            names.append(path.relative_to(self.root).as_posix())
        return any(fnmatchcase(name, pattern.rstrip("/")) for name in names for pattern in patterns)


def find(start: Path) -> Path | None:
    """The nearest pyproject.toml with our table, from a folder upward."""
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and _table(file) is not None:
            return file
    return None


def load(file: Path) -> Settings:
    """The settings of a file.  Raises OptionError where they cannot be used."""
    table = _table(file) or {}
    where = f"[tool.gpu_narration.lint] in {file}"
    for key in table:
        if key not in _KEYS:
            raise OptionError(
                f"{where}: there is no key {key!r}", next_step=f"keys are {', '.join(_KEYS)}"
            )
    settings = Settings(root=file.parent)
    if "select" in table:
        settings = replace(settings, select=codes_of(_strings(table, "select", where), where))
    if "ignore" in table:
        settings = replace(settings, ignore=codes_of(_strings(table, "ignore", where), where))
    exclude = _strings(table, "exclude", where) if "exclude" in table else EXCLUDED
    if "extend-exclude" in table:
        exclude += _strings(table, "extend-exclude", where)
    per_file = table.get("per-file-ignores", {})
    if not isinstance(per_file, dict):
        raise OptionError(
            f"{where}: per-file-ignores is no table",
            next_step='write per-file-ignores = { "tests/*" = ["GN2"] }',
        )
    codes = {name: codes_of(_strings(per_file, name, where), where) for name in per_file}
    return replace(settings, exclude=exclude, per_file=codes)


def _table(file: Path) -> dict[str, Any] | None:
    """Our table of a file, None where it has none."""
    try:
        tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise OptionError(
            f"{file} cannot be read: {error}", next_step="mend it, or pass --isolated"
        ) from error
    for name in ("gpu_narration", "lint"):
        tool = tool.get(name) if isinstance(tool, dict) else None
    if tool is not None and not isinstance(tool, dict):
        raise OptionError(
            f"tool.gpu_narration.lint in {file} is no table",
            next_step="write [tool.gpu_narration.lint]",
        )
    return tool


def _strings(table: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table[key]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise OptionError(f"{where}: {key} is no list of strings", next_step=f'write {key} = ["…"]')
    return tuple(value)


def _longest(prefixes: tuple[str, ...], code: str) -> int:
    return max((len(prefix) for prefix in prefixes if code.startswith(prefix)), default=0)
