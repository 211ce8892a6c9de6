"""Trace programs that make a GPU work: who launched it, how long, what it did to VRAM.

The light calls (``trace_tiny`` and its sisters, ``span``, ``trace_fn``) cost tens
of nanoseconds; ``narrate`` is for people.  Nothing is recorded before ``start()``
or ``GPU_NARRATION_FILE``.  ``gpu_narration.cuda`` marks GPU work,
``gpu_narration.ffi`` wraps C libraries, ``gpu_narration.tracefile`` reads traces.
"""

from gpu_narration._errors import (
    AlreadyRecordingError,
    BackendUnavailableError,
    FilterError,
    GpuNarrationError,
    MissingExtraError,
    NarrationStyleWarning,
    NotATraceError,
    OptionError,
    TemplateError,
    TraceExistsError,
    TracePathError,
    UnknownBackendError,
)
from gpu_narration._types import Level
from gpu_narration._version import __version__
from gpu_narration.contexts import Ids, context, correlation, correlation_id, set_correlation_id
from gpu_narration.narration import (
    Narration,
    NarrationFields,
    narrate,
    narrate_debug,
    narrate_error,
    narrate_fatal,
    narrate_fn,
    narrate_info,
    narrate_trace,
    narrate_warn,
)
from gpu_narration.recorder import Recorder, dump, flush, set_filter, start, stats, stop
from gpu_narration.stripping.choice import strip_on_import
from gpu_narration.tracing import (
    Span,
    span,
    trace_enter,
    trace_exit,
    trace_fn,
    trace_loop,
    trace_state,
    trace_tiny,
    trace_with_correlation,
)

__all__ = [
    "AlreadyRecordingError",
    "BackendUnavailableError",
    "FilterError",
    "GpuNarrationError",
    "Ids",
    "Level",
    "MissingExtraError",
    "Narration",
    "NarrationFields",
    "NarrationStyleWarning",
    "NotATraceError",
    "OptionError",
    "Recorder",
    "Span",
    "TemplateError",
    "TraceExistsError",
    "TracePathError",
    "UnknownBackendError",
    "__version__",
    "context",
    "correlation",
    "correlation_id",
    "dump",
    "flush",
    "narrate",
    "narrate_debug",
    "narrate_error",
    "narrate_fatal",
    "narrate_fn",
    "narrate_info",
    "narrate_trace",
    "narrate_warn",
    "set_correlation_id",
    "set_filter",
    "span",
    "start",
    "stats",
    "stop",
    "strip_on_import",
    "trace_enter",
    "trace_exit",
    "trace_fn",
    "trace_loop",
    "trace_state",
    "trace_tiny",
    "trace_with_correlation",
]
