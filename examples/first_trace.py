"""Each light call once, a narration, and the trace read back.

python examples/first_trace.py
"""

import tempfile

import gpu_narration as gn
from gpu_narration.tracefile import Trace
from gpu_narration.views.text import line


@gn.trace_fn(actor="orchestratord")
def dispatch_job(job_id: str, pool_id: str = "default") -> str:
    if pool_id == "none":
        raise ValueError("no pool")
    return "worker-gpu0-r1"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        with gn.start(f"{directory}/first", backend="none", vram=False) as recorder:
            gn.trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {} of {}", 5, 100)
            dispatch_job("job-123")
            try:
                dispatch_job("job-124", pool_id="none")
            except ValueError as error:
                print(f"(the program goes on after: {error})")
            gn.trace_with_correlation(
                "orchestratord", "select_worker", "worker-gpu0-r1",
                "Evaluating {}: load={}/{}", "req-7", "worker-gpu0-r1", 2, 8,
            )  # fmt: skip
            gn.trace_enter(
                "orchestratord", "dispatch_job", "job_id={}, pool_id={}", "job-123", "default"
            )
            gn.trace_exit("orchestratord", "dispatch_job", "→ {} ({}ms)", "worker-gpu0-r1", 15)
            gn.trace_loop(
                "orchestratord", "select_worker", 0, 8, "worker={}, load={}/{}",
                "worker-gpu0-r1", 2, 8,
            )  # fmt: skip
            gn.trace_state(
                "orchestratord", "queue_depth", "{} → {}",
                "Queue depth changed: {} → {} (added {})", 5, 6, "job-123",
            )  # fmt: skip
            gn.narrate(
                "orchestratord", "accept", "job-123",
                "Accepted request; queued at position 3 (ETA 420 ms)",
            )  # fmt: skip
        trace = Trace(recorder.path)
        for event in trace.events():
            print(line(event, trace.annotations(event)))


if __name__ == "__main__":
    main()
