"""The environment variables that a recording looks at."""

#: Where to record, from the first event on; and into which trace: a parent's.
PATH_VARIABLE = "GPU_NARRATION_FILE"
ID_VARIABLE = "GPU_NARRATION_TRACE_ID"
#: The other options of a parent's recording; see _options.py.
OPTIONS_VARIABLE = "GPU_NARRATION_OPTIONS"

FILTER_VARIABLE = "GPU_NARRATION"
VOICE_VARIABLE = "GPU_NARRATION_VOICE"
BACKEND_VARIABLE = "GPU_NARRATION_BACKEND"
