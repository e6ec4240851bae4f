"""Secrets out of texts that leave a process: notes of failures, messages, what a mirror is sent.

Owns what counts as a secret: the value of an environment variable whose name says so, the password
of an address, the known forms of keys, and a long word with a digit in it behind a name that says
so (`api_key: …`, `--token …`). By its length a key is told from `use_cls_token: true`,
`max_tokens=512` and `token: 17`, and by its name from a commit and a digest. A run's own values
never hold a secret, so this is a second wall. No torch.
"""

from __future__ import annotations

import os
import re
from typing import Any

REDACTED = "[redacted]"
LEAST = 8
"""Characters below which a variable's value is a switch or a word, not a key."""

_VARIABLE = re.compile(
    r"(?i)(?:^|_)(?:key|apikey|token|secret|password|passwd|passphrase|credentials)$"
)
_RULES = tuple(
    re.compile(rule)
    for rule in (
        r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+(?=@)",
        r"(\b)(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
        r"|glpat-[\w-]{20,}|sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}\b|wandb_v1_\w{20,})",
        r"""(?i)((?:(?:api|access|private|secret|ssh|auth|encryption)[_-]?key|token|secret|bearer)["']?"""
        r"""(?:\s*[=:]\s*|\s+)["']?)(?=[\w.~+/-]*\d)[\w.~+/-]{20,}=*""",
        # a password may be any word, and /etc/passwd is none
        r"""(?i)(--password\s+|(?<!/)(?:password|passwd|passphrase|authorization)["']?\s*[=:]\s*["']?"""
        r"""(?:bearer\s+|basic\s+)?)[^\s"',;&)}\]]+""",
    )
)
"""What the first group matches stays."""


def redact(text: str) -> str:
    """The text with every secret replaced by `[redacted]`."""
    for value in _variables():
        text = text.replace(value, REDACTED)
    for rule in _RULES:
        text = rule.sub(rf"\1{REDACTED}", text)
    return text


def redacted(value: Any) -> Any:
    """A JSON value with every text in it redacted, as if its name stood before it."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {key: _behind(f"{key}: ", each) for key, each in value.items()}
        case list() | tuple():
            return [redacted(each) for each in value]
        case _:
            return value


def _behind(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return redacted(value)
    return redact(name + value).removeprefix(redact(name))


def _variables() -> list[str]:
    """Values of this process's environment that are secrets, long ones first."""
    found = [
        value
        for name, value in os.environ.items()
        if _VARIABLE.search(name) and len(value) >= LEAST and not value.isdigit()
    ]
    return sorted(found, key=len, reverse=True)
