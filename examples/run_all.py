"""Runs every example as a user would, and fails if one of them fails."""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    failed = []
    with tempfile.TemporaryDirectory() as directory:
        for example in sorted(HERE.glob("*.py")):
            if example.name == Path(__file__).name:
                continue
            print(f"--- {example.name}", flush=True)
            command = [
                sys.executable, "-P", "-m", "gpu_narration.cli", "run", "--backend", "mock",
                str(example),
            ]  # fmt: skip
            if subprocess.run(command, cwd=directory, check=False, timeout=120).returncode != 0:
                failed.append(example.name)
    print(f"failed: {', '.join(failed)}" if failed else "all examples ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
