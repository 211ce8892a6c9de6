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
    version = _own_version(package) or _installed_version(package)
    return f"{package}@{version}" if version else package


def _own_version(package: str) -> str | None:
    # Not getattr: a module's __getattr__ is the program's code.
    loaded = getattr(sys.modules.get(package), "__dict__", None)
    version = loaded.get("__version__") if type(loaded) is dict else None
    return version if type(version) is str else None


def _installed_version(package: str) -> str | None:
    from importlib import metadata

    # What belongs to no distribution need not be looked for: a file beside the program.
    file = getattr(sys.modules.get(package), "__file__", None)
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        if not isinstance(file, str) or "-packages" not in file:
            return None
    for distribution in metadata.packages_distributions().get(package, ()):
        return metadata.version(distribution)  # one that is called otherwise than its package
    return None
