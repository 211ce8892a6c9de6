"""Whether somebody speaks in a story, by the rule of the linter."""

from __future__ import annotations

from gpu_narration.editorial.speech import speeches


def has_dialogue(story: str) -> bool:
    """Whether there is speech in it; apostrophes and single words in quotes are none.

    >>> has_dialogue('"Ready," said worker-1.'), has_dialogue("it isn't the workers' turn")
    (True, False)
    """
    return bool(speeches(story))
