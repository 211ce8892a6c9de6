"""A PEP 517 build backend that strips the wheels of another one.

In a project's pyproject.toml::

    [build-system]
    requires = ["setuptools>=77", "gpu-narration[strip]"]
    build-backend = "gpu_narration.stripping.backend"

    [tool.gpu-narration.strip]
    backend = "setuptools.build_meta"      # the project's own; this is the default

The other backend does everything; only the wheel that it built is stripped afterwards.
Source distributions and editable installs keep their trace calls.
"""

from __future__ import annotations

import importlib
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from gpu_narration._errors import OptionError, say
from gpu_narration.stripping.wheels import strip_wheel

_DEFAULT = "setuptools.build_meta"
_THIS = __name__


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds a wheel with the project's own backend and strips it; its file name."""
    directory = Path(wheel_directory)
    with tempfile.TemporaryDirectory(dir=directory) as place:
        name: str = _inner().build_wheel(place, config_settings, metadata_directory)
        results = strip_wheel(Path(place, name), directory / name)
    taken = sum(len(result.stripped.taken) for result in results)
    say(f"{taken} trace calls taken out of {name}")
    return name


def __getattr__(name: str) -> Any:
    """All other hooks are the project's backend's, and exactly those that it has."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_inner(), name)


def _inner() -> Any:
    with Path("pyproject.toml").open("rb") as file:
        table = tomllib.load(file)
    given = table.get("tool", {}).get("gpu-narration", {}).get("strip", {})
    named = given.get("backend", _DEFAULT)
    if not isinstance(named, str) or named.partition(":")[0] == _THIS:
        raise OptionError(
            f"tool.gpu-narration.strip.backend = {named!r} is not possible",
            next_step=f"name the project's own backend, as {_DEFAULT!r}",
        )
    module, _, path = named.partition(":")
    backend: Any = importlib.import_module(module)
    for part in filter(None, path.split(".")):
        backend = getattr(backend, part)
    return backend
