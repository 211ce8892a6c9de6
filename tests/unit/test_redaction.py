"""Secrets leave no text, and nothing else is taken for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gpu_narration import _core
from gpu_narration._errors import OptionError
from gpu_narration.redaction import (
    RedactionPolicy,
    Rule,
    Secrets,
    parameter_rule,
    redact,
    redaction,
    set_redaction,
)
from tests.support.corpus import Secret, lookalikes, secrets

SECRETS = secrets()
LOOKALIKES = lookalikes()
NAMES = _core.redactions()[1:]


@pytest.fixture
def policy():
    """Sets a policy, and the one before behind the test."""
    before = redaction()
    yield set_redaction
    set_redaction(before)


# ---- the corpora ----


def test_the_corpora_are_as_large_as_they_claim():
    assert len(SECRETS) >= 150
    assert len(LOOKALIKES) >= 300
    assert len({secret.text for secret in SECRETS}) == len(SECRETS)
    assert len(set(LOOKALIKES)) == len(LOOKALIKES)


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.text[:40])
def test_of_a_secret_nothing_is_left_and_of_the_text_around_it_everything(secret: Secret):
    """GIVEN a text with a secret THEN a name of what it was stands exactly in its place."""
    shown = redact(secret.text)
    assert any(shown == secret.before + name + secret.after for name in NAMES), shown


@pytest.mark.parametrize("text", LOOKALIKES)
def test_what_only_looks_like_a_secret_is_the_very_same_object(text: str):
    assert redact(text) is text


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.text[:40])
def test_bytes_are_redacted_as_text_is(secret: Secret):
    assert _core.redact(secret.text.encode(), 127) == redact(secret.text).encode()


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.text[:40])
def test_redacting_twice_changes_nothing(secret: Secret):
    once = redact(secret.text)
    assert redact(once) is once


def test_all_secrets_in_one_text_are_found():
    """GIVEN all of the corpus, a line each THEN each line is as it is alone."""
    texts = [secret.text for secret in SECRETS if _stands_alone(secret)]
    assert redact("\n".join(texts)).split("\n") == "\n".join(map(redact, texts)).split("\n")
    assert len(texts) > 250


def _stands_alone(secret: Secret) -> bool:
    # A secret that is cut off ends with the text, not with a line.
    return not secret.text.startswith(("cut", "password")) or secret.after != ""


# ---- properties ----

_AROUND = st.text(st.characters(categories=None), max_size=12)
_DELIMITERS = st.sampled_from([" ", "\n", "\t", " (", "[", "\x1b[1m", " \u202e", "💥 ", "ключ "])
_WORD = st.from_regex(r"[A-Za-z0-9]{40,60}", fullmatch=True)
_MIXED = _WORD.filter(lambda text: re.search(r"\d", text) and re.search("[a-z]", text))

_MARKED = st.one_of(
    st.tuples(
        st.sampled_from(["gh" + "p_", "hf" + "_", "gs" + "k_", "npm" + "_", "sk_li" + "ve_"]),
        _MIXED,
    ).map("".join),
    _MIXED.map(lambda text: "sk-" + text),
    _MIXED.map(lambda text: "Bearer " + text),
)


@given(_AROUND, _DELIMITERS, _MARKED, _DELIMITERS, _AROUND)
def test_a_key_leaves_in_no_context(before, left, key, right, after):
    assert key.split()[-1] not in redact(before + left + key + right + after)


@given(_AROUND, st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30), _AROUND)
def test_credentials_of_a_url_leave_in_no_context(before, user, password, after):
    assume(not set(" \t/?#@\"'<>`\\\n[") & set(user + password) and (user + password).isprintable())
    assume(not re.fullmatch(r"[*…•.]*|[{$<%].*", password))
    assume(not any(character.isspace() for character in user + password))
    host = "db\uff01" + "x" * 12
    shown = redact(f"{before} http://{user}:{password}@{host} {after}")
    assert f":{password}@{host}" not in shown


_QUOTED = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=40)
_SECRET_NAMES = st.sampled_from(
    ["password", "PASSWORD", "db_password", "clientSecret", "secret", "api_key", "API-KEY", "apiKey",
     "access_token", "x-api-key", "passwd", "passphrase", "AWS_SECRET_ACCESS_KEY"]
)  # fmt: skip


def _nothing_to_hide(value: str) -> bool:
    """Masked already, or a placeholder."""
    return bool(re.fullmatch(r"[*…•.]*|[{$<%].*[}>s]|\[\]|\{\}|\[redacted .*\]", value, re.DOTALL))


@given(_AROUND, _SECRET_NAMES, _QUOTED, st.integers(0, 2))
@example("", "password", '\\"', 0)
@example("", "secret", "\\", 2)
def test_a_value_in_json_leaves_at_no_depth(before, name, value, depth):
    """GIVEN a value of any characters, in JSON in JSON … THEN nothing is left of it."""
    import json

    assume(not _nothing_to_hide(value))
    text = json.dumps({"first": 1, name: value, "last": "kept"})
    hidden = json.dumps(value)[1:-1]
    for _ in range(depth):
        text = json.dumps({"inner": text})
        hidden = json.dumps(hidden)[1:-1]
    shown = redact(text)
    for _ in range(depth):
        shown = json.loads(shown)["inner"]
    found = json.loads(shown)
    assert found["last"] == "kept"
    assert found[name] in NAMES
    assert found["first"] == 1


@given(_SECRET_NAMES, _QUOTED, st.sampled_from("=:"))
def test_a_value_in_a_repr_leaves_nothing(name, value, sign):
    assume(not _nothing_to_hide(value))
    quoted = repr(value)
    shown = redact(f"{name!r}{sign} {quoted}, 'kept': 1")
    assert any(
        shown == f"{name!r}{sign} {quoted[0]}{found}{quoted[0]}, 'kept': 1" for found in NAMES
    )


_BARE = st.from_regex(r"[A-Za-z0-9!#$^*()_+=./?~|-]{6,40}", fullmatch=True)


@given(_AROUND, _SECRET_NAMES, _BARE, st.sampled_from(["=", ": ", " = ", ":=", " => ", "%3D"]))
def test_a_bare_value_leaves_in_no_context(before, name, value, sign):
    core = value.strip(".?!)=(*:>")
    assume(len(core) >= 6 and not _nothing_to_hide(value) and not value.startswith("..."))
    assume(not re.fullmatch(r"[-0-9.]{1,8}", value) and not _core_constant(core))
    shown = redact(f"{before} {name}{sign}{value} kept")
    assert core not in shown.replace(before, "")
    assert shown.endswith(" kept")


def _core_constant(word: str) -> bool:
    return redact(f"password: {word} x") == f"password: {word} x"


_SOUP = st.lists(
    st.one_of(
        st.sampled_from(
            ["password", "token", "key", "=", ":", " ", '"', "'", "\\", "://", "@", "Bearer ", "Basic ",
             "%3D", "\\u003d", "&quot;", "<", ">", "(", ")", "[", "]", "{", "}", ",", ";", "-----",
             "BEGIN PRIVATE KEY-----", "END", "eyJ", ".", "Cookie", "\n", "\x1b[0m", "--", "hunter2",
             "[redacted password]", "[redacted jwt]", "ghp" + "_", "a" * 36, "\u2028", "“", "”", "\uff1a", "..."]
        ),
        st.text(st.characters(categories=None), max_size=6),
    ),
    max_size=24,
).map("".join)  # fmt: skip


@settings(max_examples=400)
@given(_SOUP)
def test_no_text_goes_back_and_forth(text):
    """GIVEN fragments of secrets WHEN redacted again and again THEN nothing changes any more.

    A text made of halves of secrets can show a second one once the first is gone.
    """
    for _ in range(4):
        shown = redact(text)
        if shown is text:
            break
        text = shown
    assert redact(text) is text


@given(_AROUND, _SECRET_NAMES, _BARE, _AROUND, _MARKED)
def test_redacting_a_text_twice_changes_nothing(before, name, value, between, key):
    once = redact(f"{before} {name}={value} {between} {key}")
    assert redact(once) is once


@settings(max_examples=400)
@given(_SOUP)
def test_what_is_not_replaced_is_unchanged(text):
    """GIVEN any text THEN between the names of secrets it reads as before, in order."""
    position = 0
    for part in re.split("|".join(map(re.escape, NAMES)), redact(text)):
        position = text.index(part, position) + len(part)


@given(st.binary(max_size=60))
def test_any_bytes_can_be_redacted(data):
    assert isinstance(_core.redact(data, 255), bytes)


# ---- kinds ----


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("Bearer abc123def456", Secrets.AUTH, "Bearer [redacted bearer token]"),
        ("postgres://a:b@c", Secrets.URL, "postgres://[redacted url credentials]@c"),
        ("password=x1", Secrets.NAMED, "password=[redacted password]"),
        ("Cookie: a=b", Secrets.COOKIES, "Cookie: [redacted cookie]"),
        ("npm" + "_" + "a1" * 18, Secrets.KEYS, "[redacted vendor key]"),
        ("id 123e4567-e89b-12d3-a456-426614174000", Secrets.UUID, "id [redacted uuid]"),
    ],
)
def test_a_kind_is_found_where_it_is_looked_for_and_nowhere_else(text, kind, shown):
    assert RedactionPolicy(secrets=kind).redact(text) == shown
    others = ~kind & (Secrets.DEFAULT | Secrets.UUID)
    assert RedactionPolicy(secrets=others).redact(text) is text


def test_uuids_are_hidden_only_on_demand():
    text = "request 123e4567-e89b-12d3-a456-426614174000"
    assert RedactionPolicy().redact(text) is text
    assert RedactionPolicy(uuid=True).redact(text) == "request [redacted uuid]"


# ---- policies ----


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("human", "password=hunter2", "password=[redacted password]"),
        ("password", "hunter2", "[redacted password]"),
        ("db_password", 1234, "[redacted password]"),
        ("api_key", "x", "[redacted api key]"),
        ("cookies", b"sid=1", "[redacted cookie]"),
        ("password", None, None),
        ("password", "", ""),
        ("has_password", True, True),
        ("id_token", 17, 17),
        ("token", "Hello", "Hello"),
        ("token", 17, 17),
        ("key", "blk.0.attn_k", "blk.0.attn_k"),
        ("token", "9f86d081884c7d659a2feaa0", "[redacted token]"),
        ("password_length", 12, 12),
        ("extra", b"secret=x1", b"secret=[redacted secret]"),
        ("duration_ms", 4.5, 4.5),
        (None, "password=hunter2", "password=[redacted password]"),
    ],
)
def test_a_field_is_hidden_by_its_name_or_by_what_it_holds(name, value, shown):
    assert _core.redact_field(name, value) == shown


def test_a_field_may_have_a_policy_of_its_own(policy):
    policy(RedactionPolicy(fields={"prompt": "hide", "password": "show", "url": Secrets.URL}))
    assert _core.redact_field("prompt", "hi") == "[redacted field]"
    assert _core.redact_field("prompt", 5) == "[redacted field]"
    assert _core.redact_field("prompt", None) is None
    assert _core.redact_field("password", "hunter2") == "hunter2"
    assert _core.redact_field("url", "http://a:b@c password=x1") == (
        "http://[redacted url credentials]@c password=x1"
    )
    assert _core.redact_field("human", "secret=x1") == "secret=[redacted secret]"


def test_a_pattern_of_the_program_is_applied_to_every_text(policy):
    policy(RedactionPolicy(patterns=[r"EMP-\d+", r"badge (?P<secret>\d+)"]))
    assert redact("EMP-17 has badge 42") == "[redacted custom] has badge [redacted custom]"
    assert _core.redact_field("human", "EMP-17") == "[redacted custom]"


def test_the_policy_before_comes_back(policy):
    mine = RedactionPolicy(secrets=Secrets.NONE)
    before = policy(mine)
    assert redaction() is mine
    assert redact("password=x1") == "password=x1"
    assert policy(before) is mine
    assert redact("password=x1") == "password=[redacted password]"


def test_a_text_that_could_not_be_checked_is_not_shown(policy, monkeypatch):
    """GIVEN patterns that fail WHEN a field is redacted THEN nothing of it is let out."""
    seen = []
    monkeypatch.setattr(RedactionPolicy, "_by_patterns", lambda self, text: 1 / 0)
    _core.set_hooks(internal_error=lambda where, error: seen.append(where))
    policy(RedactionPolicy(patterns=["x"]))
    try:
        assert _core.redact_field("human", "text") == "[redacted unchecked]"
    finally:
        _restore_hook()
    assert seen == ["redaction"]


def _restore_hook() -> None:
    from gpu_narration._errors import internal_error

    _core.set_hooks(internal_error=internal_error)


@pytest.mark.parametrize("pattern", ["(", "", "a*", b"x", 5])
def test_a_pattern_that_cannot_be_is_refused(pattern):
    with pytest.raises(OptionError, match=r"\[bad-option\]"):
        RedactionPolicy(patterns=[pattern])


def test_a_rule_for_a_field_that_cannot_be_is_refused():
    with pytest.raises(OptionError, match="'prompt'"):
        RedactionPolicy(fields={"prompt": "maybe"})


def test_only_a_policy_can_be_set():
    with pytest.raises(OptionError, match="RedactionPolicy"):
        set_redaction("off")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("api_key", Rule.MASKED), ("dbPassword", Rule.MASKED), ("password_of_bob", Rule.MASKED),
        ("SECRET_KEY_BASE", Rule.MASKED), ("secret_b64", Rule.MASKED), ("Authorization", Rule.MASKED),
        ("next_token", Rule.CHECKED), ("key", Rule.CHECKED), ("use_auth_token", Rule.CHECKED),
        ("monkey", Rule.PLAIN), ("tokenizer", Rule.PLAIN), ("secretary", Rule.PLAIN),
        ("password_length", Rule.PLAIN), ("", Rule.PLAIN), ("пароль", Rule.PLAIN),
        ("x" * 500 + "_password", Rule.MASKED), ("x" * 500, Rule.PLAIN),
    ],
)  # fmt: skip
def test_a_name_says_what_its_value_is(name, rule):
    assert parameter_rule(name) is rule


# ---- what else is recorded ----


def test_the_text_of_an_exception_is_redacted(record):
    import gpu_narration as gn

    recorder = record.start()
    with pytest.raises(ValueError, match="hunter2"), gn.span("db", "connect"):
        raise ValueError("cannot reach postgres://me:hunter2@db/x")
    lines = record.stop().lines
    assert (
        'error="ValueError: cannot reach postgres://[redacted url credentials]@db/x"' in lines[-1]
    )
    assert all(b"hunter2" not in path.read_bytes() for path in recorder.path.iterdir())
