"""Words that the recording half and the reading half share."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """How much an event matters; the numbers are part of the trace format.

    ``MUTE`` is for narrations that are never shown; as a filter threshold use
    :data:`OFF`.
    """

    MUTE = 0
    TRACE = 1
    DEBUG = 2
    INFO = 3
    WARN = 4
    ERROR = 5
    FATAL = 6


#: A filter threshold that lets nothing through.
OFF = 7


class Kind(IntEnum):
    """What an event is; the numbers are part of the trace format."""

    TINY = 1
    CORRELATED = 2
    ENTER = 3
    EXIT = 4
    LOOP = 5
    STATE = 6
    SPAN = 7
    FUNCTION = 8
    FOREIGN = 9
    NARRATION = 10
    LAUNCH = 11
    VRAM = 12


#: Actions of the actor ``cuda`` in which the program waits for the GPU: spans of these
#: names are time that nobody worked in.
WAITS = frozenset({"memcpy", "stream_synchronize", "event_synchronize", "device_synchronize"})

#: Functions of llama.cpp that wait until a context has computed what was decoded, and the
#: position of the context among their arguments.
LLAMA_WAITS = {
    "llama_synchronize": 0,
    "llama_get_logits": 0,
    "llama_get_logits_ith": 0,
    "llama_get_embeddings": 0,
    "llama_get_embeddings_ith": 0,
    "llama_get_embeddings_seq": 0,
    "llama_get_sampled_token_ith": 0,
    "llama_get_sampled_probs_ith": 0,
    "llama_get_sampled_logits_ith": 0,
    "llama_get_sampled_candidates_ith": 0,
    "llama_sampler_sample": 1,
    "llama_state_get_data": 0,
    "llama_state_set_data": 0,
}

#: Whose words a narration can be shown in; an event that lacks one falls back to the first.
VOICES = ("human", "cute", "story")

#: How events are written for people and programs: one line each, several lines with all
#: they have, one JSON object a line, and ``key=value`` pairs.
FORMATS = ("text", "pretty", "json", "logfmt")

#: Kinds that last: a first record, and an exit record that ends it.
SPAN_KINDS = frozenset({Kind.SPAN, Kind.FUNCTION, Kind.FOREIGN})


class Outcome(IntEnum):
    """How a span ended."""

    OK = 0
    ERROR = 1
    CANCELLED = 2
    CLOSED = 3
