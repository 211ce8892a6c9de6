"""The C core; everything else about the package is in pyproject.toml."""

import os
from pathlib import Path

from setuptools import Extension, setup

CORE = Path("gpu_narration/_core")

flags = ["-std=c11", "-D_GNU_SOURCE", "-O3", "-fvisibility=hidden"]
flags += ["-fno-semantic-interposition", "-fno-plt"]
flags += ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wno-missing-field-initializers"]
# Warnings are errors where we build; a compiler of tomorrow must not break a user's install.
if os.environ.get("GPU_NARRATION_WERROR") == "1":
    flags.append("-Werror")

setup(
    ext_modules=[
        Extension(
            "gpu_narration._core._core",
            sources=sorted(str(path) for path in CORE.rglob("*.c")),
            depends=sorted(str(path) for path in CORE.rglob("*.h")),
            extra_compile_args=flags,
            extra_link_args=["-pthread"],
        )
    ]
)
