"""``narrate`` and its sisters: from the core as they are, with their types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_narration import _core

if TYPE_CHECKING:
    from typing import Any, Protocol, overload

    from gpu_narration._types import Level
    from gpu_narration.narration.fields import NarrationFields

    class NarrateAt(Protocol):
        """A narration at the level of the function."""

        @overload
        def __call__(
            self, fields: NarrationFields, /, *, stacklevel: int = 1, **more: Any
        ) -> int | None: ...
        @overload
        def __call__(
            self,
            actor: str,
            action: str,
            target: str | None = "",
            human: str | None = "",
            *,
            cute: str | None = None,
            story: str | None = None,
            correlation_id: str | None = ...,
            session_id: str | None = ...,
            job_id: str | None = ...,
            task_id: str | None = ...,
            pool_id: str | None = ...,
            replica_id: str | None = ...,
            worker_id: str | None = ...,
            operation: str | None = ...,
            duration_ms: float | None = ...,
            error_kind: str | None = ...,
            http_status: int | None = ...,
            retry_attempt: int | None = ...,
            max_retries: int | None = ...,
            retry_after_ms: float | None = ...,
            backoff_ms: float | None = ...,
            predicted_start_ms: float | None = ...,
            queue_position: int | None = ...,
            engine: str | None = ...,
            engine_version: str | None = ...,
            model_ref: str | None = ...,
            tokens_in: int | None = ...,
            tokens_out: int | None = ...,
            first_token_ms: float | None = ...,
            decode_time_ms: float | None = ...,
            device: str | int | None = ...,
            gpu_device: str | int | None = ...,
            vram_total_bytes: int | None = ...,
            vram_free_bytes: int | None = ...,
            requested_bytes: int | None = ...,
            emitted_by: str | None = ...,
            emitted_at_ms: int | None = ...,
            source_location: str | None = ...,
            trace_id: str | None = ...,
            span_id: str | int | None = ...,
            parent_span_id: str | int | None = ...,
            extra: dict[str, Any] | None = None,
            stacklevel: int = 1,
            **free: Any,
        ) -> int | None: ...

    class Narrate(Protocol):
        """A narration at any level."""

        @overload
        def __call__(
            self,
            fields: NarrationFields,
            /,
            *,
            level: Level | str | int = "info",
            stacklevel: int = 1,
            **more: Any,
        ) -> int | None: ...
        @overload
        def __call__(
            self,
            actor: str,
            action: str,
            target: str | None = "",
            human: str | None = "",
            *,
            level: Level | str | int = "info",
            cute: str | None = None,
            story: str | None = None,
            correlation_id: str | None = ...,
            session_id: str | None = ...,
            job_id: str | None = ...,
            task_id: str | None = ...,
            pool_id: str | None = ...,
            replica_id: str | None = ...,
            worker_id: str | None = ...,
            operation: str | None = ...,
            duration_ms: float | None = ...,
            error_kind: str | None = ...,
            http_status: int | None = ...,
            retry_attempt: int | None = ...,
            max_retries: int | None = ...,
            retry_after_ms: float | None = ...,
            backoff_ms: float | None = ...,
            predicted_start_ms: float | None = ...,
            queue_position: int | None = ...,
            engine: str | None = ...,
            engine_version: str | None = ...,
            model_ref: str | None = ...,
            tokens_in: int | None = ...,
            tokens_out: int | None = ...,
            first_token_ms: float | None = ...,
            decode_time_ms: float | None = ...,
            device: str | int | None = ...,
            gpu_device: str | int | None = ...,
            vram_total_bytes: int | None = ...,
            vram_free_bytes: int | None = ...,
            requested_bytes: int | None = ...,
            emitted_by: str | None = ...,
            emitted_at_ms: int | None = ...,
            source_location: str | None = ...,
            trace_id: str | None = ...,
            span_id: str | int | None = ...,
            parent_span_id: str | int | None = ...,
            extra: dict[str, Any] | None = None,
            stacklevel: int = 1,
            **free: Any,
        ) -> int | None: ...

    narrate: Narrate
    narrate_trace: NarrateAt
    narrate_debug: NarrateAt
    narrate_info: NarrateAt
    narrate_warn: NarrateAt
    narrate_error: NarrateAt
    narrate_fatal: NarrateAt
else:
    narrate = _core.narrate
    narrate_trace = _core.narrate_trace
    narrate_debug = _core.narrate_debug
    narrate_info = _core.narrate_info
    narrate_warn = _core.narrate_warn
    narrate_error = _core.narrate_error
    narrate_fatal = _core.narrate_fatal
