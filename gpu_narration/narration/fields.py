"""The fields of a narration: their names, types and units.

A plain dict while the program runs; a type checker refuses a name that is not here and
a value of another type.  What has no place here goes into ``extra``.
"""

# Annotations as objects: as texts, each would be compiled when this is imported.

from typing import Any, TypedDict


class NarrationFields(TypedDict, total=False):
    """What :func:`gpu_narration.narrate` can be given at once; all but the first two may be left out.

    >>> fields = NarrationFields(
    ...     actor="queue", action="admit", human="Admitted job-7", tokens_in=812
    ... )
    """

    # The story: who, did what, to whom, in which words.
    actor: str
    action: str
    target: str | None
    human: str | None
    cute: str | None
    story: str | None

    # Whose work it is.
    correlation_id: str | None
    session_id: str | None
    job_id: str | None
    task_id: str | None
    pool_id: str | None
    replica_id: str | None
    worker_id: str | None

    # How it went; times in ms.
    operation: str | None
    duration_ms: float | None
    error_kind: str | None
    http_status: int | None
    retry_attempt: int | None
    max_retries: int | None
    retry_after_ms: float | None
    backoff_ms: float | None
    predicted_start_ms: float | None
    queue_position: int | None

    # The engine and what it made; first_token_ms counts from the request.
    engine: str | None
    engine_version: str | None
    model_ref: str | None
    tokens_in: int | None
    tokens_out: int | None
    first_token_ms: float | None
    decode_time_ms: float | None

    # The device and its memory, in bytes.
    device: str | int | None
    gpu_device: str | int | None
    vram_total_bytes: int | None
    vram_free_bytes: int | None
    requested_bytes: int | None

    # Where it comes from: known without being given, and what is given wins.
    emitted_by: str | None
    emitted_at_ms: int | None
    source_location: str | None
    trace_id: str | None
    span_id: str | int | None
    parent_span_id: str | int | None

    #: Free fields.
    extra: dict[str, Any] | None
