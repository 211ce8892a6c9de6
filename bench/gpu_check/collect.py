"""Collects the wheels that gpu_check needs, on a machine with a network.

    python bench/gpu_check/collect.py wheels                 # for CUDA 12 and 13
    python bench/gpu_check/collect.py wheels --cuda 12 --python 3.12 --torch --cupti

Then carry the folder to the machine with the GPU and give it to ``--wheels``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.gpu_check.preparing import COMMON, FOR_CUDA

#: What wheels may be built for, the newest first; older ones run on newer systems.
PLATFORMS = (
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the wheels go, a folder for each CUDA")
    parser.add_argument("--cuda", type=int, choices=sorted(FOR_CUDA), action="append",
                        help="major version of CUDA; may be given again; default: all")  # fmt: skip
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}",
                        help="version of Python on the machine with the GPU")  # fmt: skip
    parser.add_argument("--machine", default="x86_64", choices=["x86_64", "aarch64"])
    parser.add_argument("--torch", action="store_true", help="PyTorch too, some GB")
    parser.add_argument("--cupti", action="store_true", help="cupti-python too (CUDA 13 only)")
    options = parser.parse_args()
    for cuda in options.cuda or sorted(FOR_CUDA):
        wanted = [*COMMON, *FOR_CUDA[cuda]]
        wanted += ["torch"] if options.torch else []
        wanted += ["cupti-python"] if options.cupti and cuda >= 13 else []
        folder = options.folder / f"cuda{cuda}"
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--only-binary", ":all:", "--dest", str(folder), "--implementation", "cp",
            "--python-version", options.python,
            *(f"--platform={name}_{options.machine}" for name in PLATFORMS), *wanted,
        ]  # fmt: skip
        if subprocess.run(command, check=False).returncode != 0:
            print(f"the wheels for CUDA {cuda} could not all be had; pip says why above",
                  file=sys.stderr)  # fmt: skip
            return 1
        files = list(folder.glob("*.whl"))
        size_mib = sum(file.stat().st_size for file in files) >> 20
        print(f"{folder}: {len(files)} wheels, {size_mib} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
