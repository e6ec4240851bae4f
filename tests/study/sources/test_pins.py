"""Pins: what is not pinned is planned, named and never run; the hub is asked once, and only for
what is empty.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from study.language.values.corpus import Corpus, Text, TrainedBPE
from study.language.values.stages import External
from study.launch import ready
from study.runs.plan import load_sweep
from study.sources import pins

ROOT = Path(__file__).parents[3]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
SHA = "ab" * 32

SWEEP = '''"""A sweep of pins."""
from pathlib import Path
from study.sources import pins
from study.language.values import Corpus, PretrainedTokenizer, Text, TrainedBPE
PINS = pins.load(Path(__file__).with_name("pins.toml"))
def runs():
    for name in ("made/open", "made/known"):
        rows = PINS.rows(name, "train", config="en", text_field="text")
        yield Corpus(
            slug=name.replace("/", "-"),
            documents=Text(sources=(rows,), held_out=0.1),
            tokenizer=PretrainedTokenizer(source=PINS.file("t.json"), sentinels=2),
        )
'''
TOML = f"""
[hub."made/open"]
ref = "dev"
commit = ""
note = "a note with \\"quotes\\""

[hub."made/known"]
commit = "{OTHER}"

[hub."made/unused"]
commit = ""

[files."t.json"]
sha256 = ""
note = "ask the owner"
"""


def sweep_at(folder, toml=TOML):
    (folder / "pins.toml").write_text(toml)
    (folder / "made.py").write_text(SWEEP)
    return folder / "made.py"


def test_sources_carry_their_pin_or_say_that_they_have_none(tmp_path):
    sweep_at(tmp_path)
    known = pins.load(tmp_path / "pins.toml")
    rows = known.rows("made/known", "train", config="en", text_field="text")
    assert (rows.uri, rows.digest) == ("hf://made/known/en/train", f"commit:{OTHER}")
    assert known.rows("made/known", "dev").uri == "hf://made/known/dev"
    assert known.rows("made/open", "train").digest == "commit:unpinned:made/open"
    with pytest.raises(ValueError, match="no 'made/opne'; legal, among others: made/open"):
        known.rows("made/opne", "train")


def test_two_unpinned_files_are_two_sources():
    known = pins.Pins(path=Path("pins.toml"), files={"a": {"sha256": ""}, "b": {"sha256": ""}})
    one, other = (
        External(slug=name, source=known.file(name), architecture="causal_decoder")
        for name in ("a", "b")
    )
    assert one.id != replace(other, slug="a").id


@pytest.mark.parametrize(
    ("toml", "match"),
    [
        ('[hub."a/b"]\ncommit = "main"', "commit 'main'; legal: empty or"),
        ('[hub."a/b"]\nrevision = ""', "unknown key 'revision'; legal: commit, note, ref"),
        ('[files."a"]\nsha256 = "12"', "sha256 '12'"),
        ('[file."a"]\nsha256 = ""', "unknown table 'file'; legal: hub, files"),
        ('[hub."a/b"]\ncommit = 1', "legal: strings only"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, toml, match):
    (tmp_path / "pins.toml").write_text(toml)
    with pytest.raises(ValueError, match=match):
        pins.load(tmp_path / "pins.toml")


def test_unpinned_sources_are_named_once_and_refused(tmp_path):
    sweep = load_sweep(sweep_at(tmp_path))
    assert pins.unpinned(sweep.runs) == ("made/open", "t.json")
    with pytest.raises(ValueError, match=r"2 sources .*`study pin .*made/open, t\.json"):
        ready.refuse(sweep, sweep.runs)
    pinned = [run for run in sweep.runs if run.slug == "made-known"]
    assert pins.unpinned(pinned) == ("t.json",)
    free = Corpus(
        slug="x",
        documents=Text(sources=pinned[0].documents.sources, held_out=0.0),
        tokenizer=TrainedBPE(vocab_size=300, sentinels=2),
    )
    ready.refuse(sweep, [free])


def test_pin_fills_what_is_empty_and_nothing_else(tmp_path):
    sweep_at(tmp_path)
    known = pins.load(tmp_path / "pins.toml")
    asked = []

    def commit(name, ref):
        asked.append((name, ref))
        return COMMIT

    def sha256(name):
        raise ValueError(f"no {name}")

    done = pins.pin(known, ("made/open", "t.json"), commit=commit, sha256=sha256)
    assert asked == [("made/open", "dev")]
    assert [(each.name, each.pin) for each in done] == [("made/open", COMMIT), ("t.json", "")]
    assert done[1].problem == "no t.json (ask the owner)"
    after = pins.load(tmp_path / "pins.toml")
    assert after.hub == {**known.hub, "made/open": {**known.hub["made/open"], "commit": COMMIT}}
    assert after.files == known.files


def test_a_pin_changes_the_ids_of_what_reads_it(tmp_path):
    before = load_sweep(sweep_at(tmp_path)).run("made-open")
    after = load_sweep(sweep_at(tmp_path, TOML.replace('commit = ""', f'commit = "{COMMIT}"', 1)))
    assert after.run("made-open").id != before.id


@contextmanager
def hub(answers):
    """A hub on this machine: path -> (status, JSON)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            asked.append(path)
            status, form = answers.get(path, (404, {"error": "no such repository"}))
            body = json.dumps(form).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()


def study(*words, endpoint, **more):
    return subprocess.run(
        [sys.executable, "-m", "study.cli", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", **more},
    )


def info(*files):
    return {
        "_id": "1",
        "id": "made/open",
        "sha": COMMIT,
        "siblings": [{"rfilename": name} for name in files],
    }


def test_the_command_asks_the_hub_and_reads_the_files(tmp_path):
    path = sweep_at(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.json").write_text("{}")
    answers = {"/api/datasets/made/open/revision/dev": (200, info("README.md", "en/0.parquet"))}
    with hub(answers) as (endpoint, asked):
        told = study("run", path, "--store", tmp_path / "runs", endpoint=endpoint)
        assert told.returncode == 2
        assert "made/open, t.json" in told.stderr
        assert not (tmp_path / "runs").exists()

        done = study("pin", path, "--data-dir", tmp_path / "data", endpoint=endpoint)
        assert done.returncode == 0, done.stderr
        assert f"{path.with_name('pins.toml')}: 2 pinned now, 0 not pinned" in done.stdout
        again = study("pin", path, endpoint=endpoint)
        assert "0 pinned now, 0 not pinned" in again.stdout
    assert asked == ["/api/datasets/made/open/revision/dev"]
    after = pins.load(path.with_name("pins.toml"))
    assert after.hub["made/open"]["commit"] == COMMIT
    assert after.hub["made/unused"]["commit"] == ""
    assert len(after.files["t.json"]["sha256"]) == 64
    assert not pins.unpinned(load_sweep(path).runs)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((200, info("open.py", "README.md")), 'ref = "refs/convert/parquet"'),
        ((404, {"error": "gone"}), "the hub did not tell 'made/open' at 'dev'"),
        ((200, {**info(), "sha": "main"}), "legal: a commit"),
    ],
)
def test_what_the_hub_does_not_pin_stays_open(tmp_path, answer, match):
    path = sweep_at(tmp_path)
    with hub({"/api/datasets/made/open/revision/dev": answer}) as (endpoint, _):
        done = study("pin", path, endpoint=endpoint)
    assert done.returncode == 2
    assert match in done.stdout
    assert pins.load(path.with_name("pins.toml")).hub["made/open"]["commit"] == ""


def test_without_a_network_the_hub_tells_nothing_and_is_named(monkeypatch):
    class ConnectError(Exception):
        """As the hub's HTTP client has it: no OSError."""

    def unreachable(*_, **__):
        raise ConnectError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    with pytest.raises(ValueError, match="did not tell 'made/open' at 'dev': Name or service"):
        pins.hub_commit("made/open", "dev")
