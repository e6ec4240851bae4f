"""Secrets out of texts that leave a process: notes of failures, messages, what a mirror is sent.

Owns what counts as a secret: the value of an environment variable whose name says so, a value that
stands behind a name that says so (`api_key: …`, `--token …`), the password of an address, and the
known forms of keys. Half of the matter is what is none: `use_cls_token: true`, `max_tokens=512`,
`tokenizer: …`, a commit and a digest stay as they are. A run's own values never hold a secret, so
this is a second wall. No torch.
"""

from __future__ import annotations

import os
import re
from typing import Any

REDACTED = "[redacted]"
LEAST = 8
"""Characters below which a variable's value is a switch or a word, not a key."""

_ALONE = frozenset(("password", "passwd", "passphrase", "secret", "credentials", "apikey"))
_BEFORE_KEY = frozenset(("api", "access", "private", "secret", "auth", "ssh", "encryption"))
_BEFORE_TOKEN = frozenset(
    ("api", "access", "auth", "bearer", "refresh", "session", "secret", "hf", "hub", "github")
) | frozenset(("huggingface", "gitlab", "wandb", "oauth", "jwt"))
_OF_VARIABLES = frozenset(("key", "token", *_ALONE))

_HEAD = re.compile(
    r"""(?P<dash>--?)?["']?(?P<name>[A-Za-z][\w.-]*)["']?(?:(?P<sign>\s*[=:]\s*)|(?<=\w)\s+)["']?"""
)
_VALUE = re.compile(r"""(?:Bearer\s+|Basic\s+)?[^\s"',;&)}\]]+""")
_ADDRESS = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+@")
_KNOWN = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
    r"|\bglpat-[\w-]{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bwandb_v1_\w{20,}"
)


def redact(text: str) -> str:
    """The text with every secret replaced by `[redacted]`."""
    for value in _variables():
        text = text.replace(value, REDACTED)
    text = _ADDRESS.sub(rf"\g<scheme>{REDACTED}@", text)
    text = _KNOWN.sub(REDACTED, text)
    return _without_named(text)


def redacted(value: Any) -> Any:
    """A JSON value with every text in it redacted, and whatever stands under a secret's name."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {
                key: REDACTED if isinstance(each, str) and is_secret(str(key)) else redacted(each)
                for key, each in value.items()
            }
        case list() | tuple():
            return [redacted(each) for each in value]
        case _:
            return value


def is_secret(name: str) -> bool:
    """Whether what stands under this name is a secret, by the name's last words."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    *before, last = [word for word in re.split(r"[\W_]+", parted) if word] or [""]
    match last:
        case "key":
            return bool(before) and before[-1] in _BEFORE_KEY
        case "token":
            return not before or before[-1] in _BEFORE_TOKEN
        case "authorization":
            return True
        case _:
            return last in _ALONE


def _without_named(text: str) -> str:
    parts, at = [], 0
    while (head := _HEAD.search(text, at)) is not None:
        value = _VALUE.match(text, head.end())
        parts.append(text[at : head.end()])
        at = head.end()
        if value is not None and _names_a_secret(head, value[0]):
            parts.append(REDACTED)
            at = value.end()
    return "".join(parts) + text[at:]


def _names_a_secret(head: re.Match[str], value: str) -> bool:
    """Whether this is a secret's name with its value. "token: 17" and "a secret word" are prose; a
    password may be any word.
    """
    if not is_secret(head["name"]) or not (head["sign"] or head["dash"]):
        return False
    return not head["name"].lower().endswith("token") or _looks_random(value)


def _looks_random(value: str) -> bool:
    """Whether nobody would have thought of this word."""
    return len(value) >= LEAST and any(each.isdigit() for each in value) and not value.isdigit()


def _variables() -> list[str]:
    """Values of this process's environment that are secrets, long ones first."""
    found = [
        value
        for name, value in os.environ.items()
        if name.lower().rpartition("_")[2] in _OF_VARIABLES
        and len(value) >= LEAST
        and not value.isdigit()
    ]
    return sorted(found, key=len, reverse=True)
