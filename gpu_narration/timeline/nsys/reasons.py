"""Why GPU work belongs to nothing; docs/nsight.md explains each."""

NO_CORRELATION = "it has no correlation id"
NO_PROCESS = "the report does not say which process it is of"
NO_CALL = "its launch call is not in the report"
OUTSIDE = "its launch call is outside all ranges"
AMBIGUOUS = "several start/end ranges that do not nest were open at its launch call"

#: Of a join alone.
OTHER_PROCESS = "its process is not in the trace"
NO_SPAN = "its launch call is in no span of the trace"
LOST_SPAN = "its span is not in the trace: lost, filtered out or of another recording"
EDGE = "its launch call is too near to the edge of a span for the clock's error"
