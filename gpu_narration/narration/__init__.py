"""Full events for people: who did what to whom, at seven levels and in three voices.

A narration costs more than a ``trace_*`` call and says more: beside the human
sentence it can carry a cute and a story one, any number of named fields, and where
it came from.  docs/narration.md has the fields and the outputs.
"""

from gpu_narration.narration.builder import Narration
from gpu_narration.narration.calls import (
    narrate,
    narrate_debug,
    narrate_error,
    narrate_fatal,
    narrate_info,
    narrate_trace,
    narrate_warn,
)
from gpu_narration.narration.fields import NarrationFields
from gpu_narration.narration.function import narrate_fn

__all__ = [
    "Narration",
    "NarrationFields",
    "narrate",
    "narrate_debug",
    "narrate_error",
    "narrate_fatal",
    "narrate_fn",
    "narrate_info",
    "narrate_trace",
    "narrate_warn",
]
