"""Runs the pytest-benchmark suites with the NVTX tool attached.

    python bench/suites.py
    python bench/suites.py -k span --benchmark-json=span.json

NVTX reads once, at its first call, which tool to load, so the tool must be named before
the process begins.  Only the state "with an NVTX tool" calls it.  Arguments go to pytest.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tool
from gate import Unknown

SUITES = Path(__file__).parent


def main() -> None:
    environment = tool.environment()
    if isinstance(environment, Unknown):
        print(f"without the state with an NVTX tool: {environment.reason}", file=sys.stderr)
        environment = {}
    command = [
        sys.executable, "-m", "pytest", str(SUITES), "--quiet",
        "--benchmark-columns=min,median,iqr", "--benchmark-group-by=group",
        "--benchmark-sort=fullname", "--benchmark-disable-gc", "--benchmark-time-unit=us",
        *sys.argv[1:],
    ]  # fmt: skip
    # -P: the source tree, where pytest may be started, must not shadow the installed package.
    command.insert(1, "-P")
    os.execve(sys.executable, command, {**os.environ, **environment})


if __name__ == "__main__":
    main()
