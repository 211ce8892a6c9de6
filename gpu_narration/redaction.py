"""Which parameters are not to be shown.

Decided once, by name, when a function is decorated.  ``token`` and ``key`` are
everyday words here (token ids, text pieces, KV-cache keys), so parameters named
like that are masked only where the value itself looks like a credential.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise


class Rule(IntEnum):
    """What to do with a parameter; the numbers are ``enum parameter_rule`` in the core."""

    PLAIN = 0
    MASKED = 1
    CHECKED = 2


_SECRET_WORDS = {
    "password", "passwd", "pwd", "passphrase", "secret", "secrets", "credential", "credentials",
    "authorization", "apikey", "bearer", "cookie", "cookies", "jwt",
}  # fmt: skip
_SECRET_PAIRS = {
    ("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("signing", "key"),
    ("encryption", "key"), ("account", "key"), ("ssh", "key"), ("auth", "key"),
    ("access", "token"), ("auth", "token"), ("bearer", "token"), ("refresh", "token"),
    ("session", "token"), ("id", "token"), ("hf", "token"), ("csrf", "token"), ("oauth", "token"),
}  # fmt: skip
_CHECKED_WORDS = {"token", "tokens", "key", "keys", "auth"}
_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+"


def parameter_rule(name: str) -> Rule:
    """The rule for a parameter called ``name``.

    >>> parameter_rule("api_key"), parameter_rule("dbPassword"), parameter_rule("next_token")
    (<Rule.MASKED: 1>, <Rule.MASKED: 1>, <Rule.CHECKED: 2>)
    """
    import re

    words = [word.lower() for word in re.findall(_WORD, name)]
    if not (_SECRET_WORDS.isdisjoint(words) and _SECRET_PAIRS.isdisjoint(pairwise(words))):
        return Rule.MASKED
    if not _CHECKED_WORDS.isdisjoint(words):
        return Rule.CHECKED
    return Rule.PLAIN
