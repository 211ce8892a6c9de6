"""What redaction costs: ordinary texts, and a megabyte of each hostile pattern.

Prints, for every pattern, the CPU time for 1 MB and the ratio to half of it; exits with 1
where a pattern takes more than 50 ms or grows by more than 2.5.  Run it alone:
``python bench/redaction.py``.
"""

from __future__ import annotations

import sys
import time

from gpu_narration import _core
from gpu_narration.redaction import Secrets
from hostile_texts import HOSTILE, repeated

MEGABYTE = 1 << 20
LIMIT_MS, LIMIT_RATIO = 50.0, 2.5
EVERYTHING = Secrets.DEFAULT | Secrets.UUID

TEXTS = {
    "a sentence": "Accepted request, queued at position 3 (ETA 420 ms)",
    "no trigger": "Accepted the request and put it last in the line",
    "pairs": "job_id=job-123 pool_id=default tokens_in=512 model=llama-3.1-8b.gguf",
    "a secret": "login failed for postgres://me:hunter2@db:5432/x, retrying",
}


def _best_ns(text: str, policy: int, times: int) -> float:
    best = float("inf")
    for _ in range(15):
        begin = time.thread_time_ns()
        for _ in range(times):
            _core.redact(text, policy)
        best = min(best, (time.thread_time_ns() - begin) / times)
    return best


def main() -> int:
    """Prints the tables."""
    for name, text in TEXTS.items():
        print(f"{_best_ns(text, Secrets.DEFAULT, 20_000):8.0f} ns  {name}: {len(text)} characters")
    slow = []
    for name, pattern in HOSTILE.items():
        half = _best_ns(repeated(pattern, MEGABYTE // 2), EVERYTHING, 1)
        whole = _best_ns(repeated(pattern, MEGABYTE), EVERYTHING, 1)
        ms, ratio = whole / 1e6, whole / half
        print(f"{ms:8.1f} ms  {ratio:4.2f}x  {name}")
        if ms > LIMIT_MS or ratio > LIMIT_RATIO:
            slow.append(name)
    if slow:
        print(f"past {LIMIT_MS:g} ms or {LIMIT_RATIO:g}x: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
