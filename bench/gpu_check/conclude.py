"""Puts verdicts and the machine's facts beside the parts' results: stdin to stdout, JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.gpu_check import environment, verdicts


def main() -> int:
    given = json.load(sys.stdin)
    device = given["parts"].get("device") or {}
    concluded: dict[str, object] = {
        "environment": environment.facts(Path(sys.argv[1]), given["where"]),
        "driver": {"simulated": True}
        if given["simulated"]
        else environment.driver(device.get("uuid")),
        "verdicts": [verdict.as_object() for verdict in verdicts.judge(given["parts"])],
    }
    json.dump(concluded, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
