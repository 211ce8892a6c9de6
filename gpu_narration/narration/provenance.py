"""Which package, in which version, a module belongs to."""

from __future__ import annotations

import sys


def emitter_of(module: str) -> str:
    """``package@version`` of a module; the package alone where it has no version.

    A script is called by its file's name.  No code of the package is run.
    """
    from gpu_narration.tracing import actor_of

    package = actor_of(module) if module else ""
    if not package or module == "__main__":
        return package
    version = _own(package, "__version__") or _installed_version(package)
    return f"{package}@{version}" if version else package


def _own(package: str, name: str) -> str | None:
    # Not getattr: a module's __getattr__ is the program's code.
    try:
        loaded = object.__getattribute__(sys.modules.get(package), "__dict__")
    except AttributeError:
        return None
    value = loaded.get(name)
    return value if type(value) is str else None


def _installed_version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # What lies beside the program belongs to no distribution.
        if "-packages" not in (_own(package, "__file__") or ""):
            return None
    for distribution in metadata.packages_distributions().get(package, ()):
        return metadata.version(distribution)  # one that is called otherwise than its package
    return None
