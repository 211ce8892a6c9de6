"""A small queue that tells what it does: fields, levels, voices, sentences of functions.

python examples/narrated_queue.py
gpu-narration show narrated_queue.gnt --format pretty --voice story
"""

from __future__ import annotations

from dataclasses import dataclass

import gpu_narration as gn


@dataclass
class Worker:
    id: str
    free: int


POOL = [Worker("worker-gpu0-r1", free=1), Worker("worker-gpu1-r1", free=1)]


@gn.narrate_fn(
    target="{job_id}",
    human="Dispatched {job_id} to {result.id} in {elapsed_ms} ms",
    error_human="No worker took {job_id}: {error}",
    cute="{job_id} found a home at {result.id}",
    story='"Come in, {job_id}," said {result.id}.',
)
def dispatch(job_id: str) -> Worker:
    for worker in POOL:
        if worker.free > 0:
            worker.free -= 1
            return worker
    raise LookupError(f"all {len(POOL)} are busy")


def serve(job_id: str, position: int) -> None:
    with gn.correlation(f"req-{position}"):
        gn.narrate(
            "queue", "admit", job_id, f"Admitted {job_id} at position {position}",
            cute=f"{job_id} tiptoed in", job_id=job_id, queue_position=position, tokens_in=812,
        )  # fmt: skip
        try:
            dispatch(job_id)
        except LookupError as error:
            retry = gn.NarrationFields(
                actor="queue", action="retry", target=job_id, human=f"{job_id} waits for a worker",
                error_kind=type(error).__name__, retry_attempt=1, max_retries=3, backoff_ms=250,
            )  # fmt: skip
            gn.narrate_warn(retry)


with gn.start("narrated_queue.gnt", overwrite=True, console="text"):
    for position, job in enumerate(["job-7", "job-8", "job-9"]):
        serve(job, position)
    gn.Narration("queue", "close").human("The queue closed").cute("Good night, queue").emit()
