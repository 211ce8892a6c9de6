"""The rules: their codes, what they want, and an example of each.

The examples are tests too: each bad one gives its code, each good one gives nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpu_narration._errors import OptionError


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.  ``bad`` and ``good`` are Python, after ``from gpu_narration import *``."""

    code: str
    name: str
    summary: str
    why: str
    bad: str = ""
    good: str = ""


FAMILIES = {
    "GN0": "reading: what the linter could not read",
    "GN1": "length: how much a line may say",
    "GN2": "wording: what a human text says, and how",
    "GN3": "voices: what belongs into cute and story",
    "GN4": "secrets: what must not be said",
}

#: Reported whatever is selected: what was not read was not checked.
ALWAYS = frozenset({"GN001", "GN002"})

_RULES = (
    Rule(
        "GN001", "syntax-error", "the file does not parse",
        "Nothing in it was checked.  It is parsed by the Python that runs the linter; syntax "
        "of a newer one is an error to it.",
        'narrate("engine", "load"',
        'narrate("engine", "load", human="Loaded llama-7b")',
    ),
    Rule(
        "GN002", "unreadable-file", "the file cannot be read as text",
        "It cannot be opened, or it is not in the encoding that it declares (UTF-8 where it "
        "declares none).  Nothing in it was checked.",
    ),
    Rule(
        "GN003", "unknown-noqa-code", "a noqa comment names a code that there is not",
        "It suppresses nothing.  Codes of other tools are theirs and are left alone.",
        'narrate("engine", "load", human="Loaded llama-7b")  # noqa: GN999',
        'narrate("engine", "load", human="The job was queued")  # noqa: GN202',
    ),
    Rule(
        "GN101", "human-too-long", "human has more characters than its level allows",
        "A person reads it in passing: 100 characters up to INFO, 120 at WARN, 150 at ERROR and "
        "FATAL; 150 where the level is not known before the program runs.  A placeholder counts "
        "as 8 characters, or as the width of its format.  Details belong into fields.",
        'narrate("engine", "load", human="Loaded the model llama-7b from the disk into the memory '
        'of the first device, which took a while, as it did the last time")',
        'narrate("engine", "load", human="Loaded llama-7b onto gpu0", device="gpu0")',
    ),
    Rule(
        "GN102", "cute-too-long", "cute has more than 150 characters",
        "A joke that needs explaining is none.  Placeholders count as for GN101.",
        'narrate("engine", "load", human="Loaded llama-7b", cute="A llama yawned, stretched all of '
        "its seven billion legs one after the other, and then trotted up the long and winding bus "
        'into the warm and roomy meadows of gpu0")',
        'narrate("engine", "load", human="Loaded llama-7b", cute="A llama moved into gpu0")',
    ),
    Rule(
        "GN103", "story-too-long", "story has more than 200 characters",
        "A story is told in one breath an event.  Placeholders count as for GN101.",
        'narrate("engine", "load", human="Loaded llama-7b", story="\\"Is there any room left for '
        'a llama of my size, which is not small, as you see, and I bring all of my seven billion '
        'weights along, in boxes, with labels?\\" asked the engine, and went on to wait for an '
        'answer")',
        'narrate("engine", "load", human="Loaded llama-7b", '
        'story="\\"Room for seven billion?\\" asked the engine")',
    ),
    Rule(
        "GN201", "passive-with-agent", "human is in the passive voice and names who did it",
        'Who did what, in that order: "The scheduler dispatched the job" is shorter than "The '
        'job was dispatched by the scheduler", and begins with the one to look at.',
        'narrate("pool", "dispatch", human="The job was dispatched by the scheduler")',
        'narrate("pool", "dispatch", human="The scheduler dispatched the job")',
    ),
    Rule(
        "GN202", "passive-without-agent", "human is in the passive voice and hides who did it",
        "The actor of a narration acts: say what it did.  A state in the present (the model is "
        "loaded) is no passive here, nor are words for states (was closed, was exhausted).",
        'narrate("pool", "dispatch", human="The job was dispatched")',
        'narrate("pool", "dispatch", human="Dispatched the job")',
    ),
    Rule(
        "GN203", "future-tense", "human speaks of the future",
        "A narration tells what happens or has happened.  What will come may not come.",
        'narrate("pool", "retry", human="The pool will retry in 50 ms")',
        'narrate("pool", "retry", human="Retrying in 50 ms")',
    ),
    Rule(
        "GN204", "vague-error", "human says that there was an error and not which",
        "Name what failed and why: the error is at hand where the call stands.",
        'narrate_error("engine", "load", human="An error occurred")',
        'narrate_error("engine", "load", human=f"Cannot load {model}: {error}")',
    ),
    Rule(
        "GN205", "number-without-unit", "a time or a size without its unit",
        "15 of what?  Found where a number follows a word of time or size, and where a "
        "placeholder has a unit in its name that the text does not say.",
        'narrate("engine", "decode", human=f"Decoded the batch in {elapsed_ms}")',
        'narrate("engine", "decode", human=f"Decoded the batch in {elapsed_ms} ms")',
    ),
    Rule(
        "GN206", "opaque-id", "human has an id that says nothing to a person",
        "UUIDs, hashes and addresses belong into fields (correlation_id, trace_id), where a "
        "program finds them.  Names that people know (job-123, gpu0) are fine.",
        'narrate("pool", "accept", human=f"Accepted the request {request_uuid}")',
        'narrate("pool", "accept", human=f"Accepted {job_id}", correlation_id=request_uuid)',
    ),
    Rule(
        "GN301", "dialogue-in-cute", "somebody speaks in cute",
        "Speech is what story is for.  Names in quotes are no speech, apostrophes no quotes.",
        'narrate("engine", "load", human="Loaded llama-7b", cute="\\"Hello!\\" said the llama")',
        'narrate("engine", "load", human="Loaded llama-7b", cute="The llama\'s home at last")',
    ),
    Rule(
        "GN302", "story-without-speech", "nobody speaks in story",
        "In this voice the parts of the system talk to each other.",
        'narrate("engine", "load", human="Loaded llama-7b", story="The engine asked for room")',
        'narrate("engine", "load", human="Loaded llama-7b", story="\\"Room?\\" asked the engine")',
    ),
    Rule(
        "GN303", "speech-without-speaker", "in story it is not said who speaks",
        "Read beside other events, a sentence in quotes alone could be anybody's.",
        'narrate("engine", "load", human="Loaded llama-7b", story="\\"Is there room?\\" \\"Yes.\\"")',
        'narrate("engine", "load", human="Loaded llama-7b", '
        'story="\\"Is there room?\\" asked the engine. \\"Yes,\\" said gpu0")',
    ),
    Rule(
        "GN401", "secret-in-text", "a text shows a value that is a secret by its name",
        "Redaction finds what looks like a credential; a password can look like anything.  "
        "token and key mean token ids and cache keys in this field and are not meant here.",
        'narrate("auth", "login", human=f"Logged in with {password}")',
        'narrate("auth", "login", human=f"{user} logged in with a password")',
    ),
    Rule(
        "GN402", "secret-field", "a field or an argument is a secret by its name",
        "It would be stored with the event.  Leave it out.",
        'narrate("auth", "login", human="Logged in", api_key=key)',
        'narrate("auth", "login", human="Logged in", has_api_key=True)',
    ),
)  # fmt: skip

RULES = {rule.code: rule for rule in _RULES}


def codes_of(prefixes: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The prefixes as they are used: upper case, ``ALL`` is every rule.

    Raises OptionError where one of them is the beginning of no code; ``where`` says
    who named it.
    """
    used = tuple("GN" if prefix.upper() == "ALL" else prefix.upper() for prefix in prefixes)
    for prefix, given in zip(used, prefixes, strict=True):
        if not prefix or not any(code.startswith(prefix) for code in RULES):
            raise OptionError(
                f"{where}: no rule has a code that is or begins with {given!r}",
                next_step=f"codes are {', '.join(RULES)}, families {', '.join(FAMILIES)}, and ALL",
            )
    return used


def explain(code: str) -> str:
    """What a rule wants, why, and an example of each.  Raises OptionError for an unknown code."""
    rule = RULES.get(code.upper())
    if rule is None:
        raise OptionError(
            f"there is no rule {code!r}", next_step=f"the rules are {', '.join(RULES)}"
        )
    parts = [f"{rule.code} ({rule.name}): {rule.summary}", rule.why]
    if rule.bad:
        parts += [f"Instead of\n\n    {rule.bad}", f"write\n\n    {rule.good}"]
    return "\n\n".join(parts)
