"""What is not to be shown: secrets in texts, in fields and in parameters.

Every text and every field of ``narrate``, and the text of an exception that ends a
span, go through here before they are recorded; what is found is replaced by a word
that says what it was, as ``[redacted jwt]``.  docs/redaction.md lists what is found.

``token`` and ``key`` are everyday words here (token ids, text pieces, KV-cache
keys), so what is called that is hidden only where it looks like a credential.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, Literal

from gpu_narration import _core
from gpu_narration._errors import OptionError

if TYPE_CHECKING:
    import re

__all__ = [
    "CUSTOM",
    "RedactionPolicy",
    "Rule",
    "Secrets",
    "parameter_rule",
    "redact",
    "redaction",
    "set_redaction",
]

#: What stands for a match of a pattern of the program's own.
CUSTOM = "[redacted custom]"
_HIDE = 0x10000  # HIDDEN in boundary/redact.c


class Rule(IntEnum):
    """What to do with a parameter; the numbers are ``enum parameter_rule`` in the core."""

    PLAIN = 0
    MASKED = 1
    CHECKED = 2


class Secrets(IntFlag):
    """Kinds of secrets; the numbers are ``enum gn_redact`` in the core."""

    NONE = 0
    #: Bearer and basic authentication, ``Authorization`` headers.
    AUTH = 1
    JWT = 2
    #: Private keys between ``BEGIN`` and ``END`` lines.
    PEM = 4
    #: ``user:password@`` in a URL.
    URL = 8
    #: Values behind names: ``password=``, ``"api_key": "…"``, ``--secret …``.
    NAMED = 16
    #: Keys that their makers mark with a prefix: ``ghp_…``, ``hf_…``.
    KEYS = 32
    COOKIES = 64
    #: Not by default: most UUIDs are ids of requests.
    UUID = 128
    DEFAULT = 127


class RedactionPolicy:
    """Which secrets are looked for, and in which fields.

    secrets: the kinds that are looked for.
    uuid: whether UUIDs are hidden too.
    fields: what holds for single fields of a narration, by name, instead of that:
        ``"hide"`` never shows the value, ``"show"`` shows it as it is, a
        :class:`Secrets` looks for those kinds.  A field that is not named here and
        whose own name tells a secret (``api_key``) is hidden.
    patterns: regular expressions of the program's own, applied to every text after
        the rest; a group called ``secret`` is all that is replaced where there is one.
        They run in Python's ``re``: each costs microseconds a text, holds the GIL,
        and is only as linear as it was written.

    Raises OptionError for a pattern that is none, or that matches the empty text, and
    for a field's rule that is none.
    """

    __slots__ = ("_fields", "_patterns", "_secrets")

    def __init__(
        self,
        *,
        secrets: Secrets = Secrets.DEFAULT,
        uuid: bool = False,
        fields: Mapping[str, Secrets | Literal["hide", "show"]] | None = None,
        patterns: Iterable[str | re.Pattern[str]] = (),
    ) -> None:
        self._secrets = Secrets(secrets) | (Secrets.UUID if uuid else Secrets.NONE)
        self._fields = {name: _field_rule(name, rule) for name, rule in (fields or {}).items()}
        self._patterns = tuple(_compiled(pattern) for pattern in _several(patterns))

    @property
    def secrets(self) -> Secrets:
        return self._secrets

    def redact(self, text: str) -> str:
        """The text without its secrets; the same object if it holds none."""
        return self._by_patterns(_core.redact(text, self._secrets))

    def _by_patterns(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(_replaced, text)
        return text

    def _apply(self) -> None:
        patterns = self._by_patterns if self._patterns else None
        _core.redact_configure(self._secrets, self._fields or None, patterns)


def redaction() -> RedactionPolicy:
    """The policy of this process."""
    return _active


def set_redaction(policy: RedactionPolicy) -> RedactionPolicy:
    """Sets the policy of this process, from the next event on; the one before.

    ``RedactionPolicy(secrets=Secrets.NONE)`` looks for nothing.
    """
    global _active
    if not isinstance(policy, RedactionPolicy):
        raise OptionError(
            f"a redaction policy cannot be {type(policy).__name__}",
            next_step="give a RedactionPolicy; RedactionPolicy(secrets=Secrets.NONE) redacts nothing",
        )
    policy._apply()
    before, _active = _active, policy
    return before


def redact(text: str) -> str:
    """The text without its secrets, by the policy of this process.

    The same object if it holds none.

    >>> redact("postgres://me:hunter2@db/x")
    'postgres://[redacted url credentials]@db/x'
    """
    return _active.redact(text)


def parameter_rule(name: str) -> Rule:
    """The rule for a parameter called ``name``.

    >>> parameter_rule("api_key"), parameter_rule("dbPassword"), parameter_rule("next_token")
    (<Rule.MASKED: 1>, <Rule.MASKED: 1>, <Rule.CHECKED: 2>)
    """
    return Rule(_core.parameter_rule(name))


def _field_rule(name: str, rule: object) -> int:
    if rule == "hide":
        return _HIDE
    if rule == "show":
        return Secrets.NONE
    if isinstance(rule, Secrets):
        return int(rule)
    raise OptionError(
        f"there is no redaction {rule!r} for the field {name!r}",
        next_step='give "hide", "show" or a Secrets',
    )


def _several(patterns: Iterable[str | re.Pattern[str]]) -> Iterable[str | re.Pattern[str]]:
    return (patterns,) if isinstance(patterns, str) else patterns


def _compiled(pattern: Any) -> re.Pattern[str]:
    import re

    try:
        compiled: re.Pattern[Any] = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise OptionError(
            f"the redaction pattern {pattern!r} is no regular expression: {error}",
            next_step="see the syntax of Python's re",
        ) from None
    if not isinstance(compiled.pattern, str) or compiled.match(""):
        raise OptionError(
            f"the redaction pattern {pattern!r} matches the empty text or bytes",
            next_step="give one for str that needs at least a character",
        )
    return compiled


def _replaced(match: re.Match[str]) -> str:
    if "secret" not in match.re.groupindex or match.start("secret") < 0:
        return CUSTOM
    whole, start = match.group(), match.start()
    return whole[: match.start("secret") - start] + CUSTOM + whole[match.end("secret") - start :]


_active = RedactionPolicy()
