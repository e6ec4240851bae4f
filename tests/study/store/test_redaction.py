"""What is a secret, and, as much to the point, what is none."""

import json

import pytest

from study.store.redaction import REDACTED, redact, redacted

KEY = "3f9c" * 10


@pytest.fixture(autouse=True)
def _no_secret_around(monkeypatch):
    import os

    for name in list(os.environ):
        if name.lower().rpartition("_")[2] in ("key", "token", "secret", "password"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "text",
    [
        f"api_key={KEY}",
        f"WANDB_API_KEY: {KEY}",
        f'{{"api_key": "{KEY}"}}',
        f"study run --api-key {KEY} --wandb online",
        f"--token={KEY}",
        f"hf_token = '{KEY}'",
        f"Authorization: Bearer {KEY}",
        f"401 Client Error for url: https://hub/api?token={KEY}&x=1",
        f"https://user:{KEY}@host/path",
        f"the key hf_{KEY} is wrong",
        f"apiKey={KEY}",
        f"db_password={KEY}",
        f"PASSWD={KEY}",
        f"passphrase: {KEY}",
        f"ssh_key={KEY}",
        f"mount --password {KEY}",
        f"Authorization: Basic {KEY}",
        f"curl -H 'Bearer {KEY}'",
        f"aws_secret_access_key = {KEY}",
        f"url: mode: token: {KEY}",
    ],
)
def test_a_secret_is_taken_out(text):
    found = redact(text)
    assert KEY not in found
    assert REDACTED in found


@pytest.mark.parametrize(
    "text",
    [
        "use_cls_token=True",
        "use_cls_token: averylongvalue123",
        "pad_token: <pad>0000",
        "eos_token = </s>12345678",
        "max_tokens=512",
        "new_tokens: 100000000",
        "tokenizer: sha256:0123456789abcdef0123",
        "token: 17",
        "the token at position 12345678 spans the join",
        "key: 12ab34cd56ef of a row",
        "sort_key=name_of_column1",
        f"commit {KEY}",
        f"weights: sha256:{KEY}",
        "no password was given",
        "error: /etc/passwd: legal: a sweep (.py) or a run (.yaml)",
        f"key: {KEY}",
        "eos_token: the_end_of_a_very_long_sentence",
        f"tokenizer: {KEY}",
        f"monkey={KEY}",
        "https://huggingface.co/a/b:c",
        "hf://owner/name/train@main",
        "hf_hub_download(repo)",
        "secretary: 12345678",
        "d_key=64, d_head=64",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


def test_values_of_the_environment_are_taken_out_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "correct horse battery")
    monkeypatch.setenv("SOME_PASSWORD", "hunter2hunter2")
    monkeypatch.setenv("USE_CLS_TOKEN", "1")
    monkeypatch.setenv("CLS_TOKEN", "[CLS]")
    monkeypatch.setenv("MAX_TOKENS", "a long description")
    monkeypatch.setenv("SEED_KEY", "123456789")
    text = "x correct horse battery y hunter2hunter2 1 [CLS] a long description 123456789"
    assert redact(text) == f"x {REDACTED} y {REDACTED} 1 [CLS] a long description 123456789"


def test_of_two_values_the_one_that_holds_the_other_is_taken_out_whole(monkeypatch):
    monkeypatch.setenv("FIRST_TOKEN", "letmein-letmein")
    monkeypatch.setenv("SECOND_TOKEN", "letmein-letmein-further")
    assert redact("x letmein-letmein-further y") == f"x {REDACTED} y"


def test_a_password_may_be_any_word():
    assert redact("password=open, user=me") == f"password={REDACTED}, user=me"


def test_a_name_that_holds_a_variables_value_takes_nothing_from_what_stands_there(monkeypatch):
    monkeypatch.setenv("HUB_TOKEN", "document")
    assert redacted({"documents": "a document here"}) == {"documents": f"a {REDACTED} here"}


def test_a_tree_of_values_keeps_its_form():
    tree = {
        "use_cls_token": "learned-0123456789",
        "api_key": KEY,
        "tokens": 5,
        "list": [f"token={KEY}", None, 1.5, True],
        "deep": {"hub_token": KEY, "vocab": {"key": KEY}},
    }
    assert redacted(tree) == {
        "use_cls_token": "learned-0123456789",
        "api_key": REDACTED,
        "tokens": 5,
        "list": [f"token={REDACTED}", None, 1.5, True],
        "deep": {"hub_token": REDACTED, "vocab": {"key": KEY}},
    }


def test_no_field_of_any_run_is_taken_for_a_secret():
    """Or a mirror would show something else than what ran."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parent))
    import made_runs as made

    from study.runs.identity import canonical

    for run in made.tree():
        form = json.loads(json.dumps(canonical(run)))
        assert redacted(form) == form
