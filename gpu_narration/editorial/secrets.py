"""Names of secrets in a program's source."""

from __future__ import annotations

import re

from gpu_narration.editorial.text import words_of, wordset
from gpu_narration.redaction import Rule, parameter_rule

#: Such a name says something about a secret, and is none: ``has_password``, ``secret_name``.
_ABOUT_FIRST = wordset("has is no needs uses with without num n show max min")
_ABOUT_LAST = wordset(
    "age attempts changed count enabled expires expiry field found hint id ids invalid kind len length "
    "manager missing name names ok path policy present prompt provided required rotated set source "
    "status store type url valid version ms s ns"
)
_LABEL = re.compile(r"([A-Za-z][\w-]{1,40})[\"']?\s*[=:]\s*[\"']?$")


def is_secret(name: str) -> bool:
    """Whether a value of this (dotted) name is a secret.

    >>> [is_secret(name) for name in ("user.password", "API_KEY", "has_password", "token")]
    [True, True, False, False]
    """
    last = name.rpartition(".")[2]
    if parameter_rule(last) is not Rule.MASKED:
        return False
    words = words_of(last)
    return words[0] not in _ABOUT_FIRST and words[-1] not in _ABOUT_LAST


def label_before(body: str, index: int) -> str | None:
    """The name of a secret that a text writes right before a value, as in ``password=…``."""
    found = _LABEL.search(body, max(0, index - 50), index)
    return found[1] if found is not None and is_secret(found[1]) else None
