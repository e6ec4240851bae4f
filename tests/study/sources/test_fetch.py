"""What a machine without a network needs: named where missing, brought, and read as it was."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import made_runs as made
import pytest
from made_sources import FILE, HUB, PYPI, corpus_of

from study.language.values.corpus import PretrainedTokenizer
from study.language.values.stages import External
from study.launch.cluster import launch, profile
from study.runs.node import Evaluation
from study.sources import content, fetch, hub
from study.sources.content import Access

MADE = Path(__file__).parents[2] / "made"
HOME = Path(fetch.__file__).resolve().parents[2]
ROWS = [{"text": f"döcument {n}", "label": n, "tags": [str(n)], "none": None} for n in range(2500)]


@pytest.fixture
def access(tmp_path):
    return Access(data_dirs=(tmp_path,), cache=tmp_path / "cache")


@pytest.fixture
def stream(monkeypatch):
    import datasets

    asked = []

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        return iter(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_the_copy_of_a_hub_data_set_gives_the_streams_rows_without_a_network(access, stream):
    streamed = list(content.rows(HUB, access=access))
    place = content.fetch(HUB, access=access)
    assert place == str(hub.copy_path(HUB, cache=access.cache))
    assert len(stream) == 2
    offline = replace(access, offline=True)
    copied = list(content.rows(HUB, access=offline))
    assert copied == streamed == ROWS
    assert [content.row_key(row) for row in copied] == [content.row_key(row) for row in ROWS]
    content.fetch(HUB, access=access)
    assert len(stream) == 2


def test_another_commit_or_split_is_another_copy(access, stream):
    content.fetch(HUB, access=access)
    offline = replace(access, offline=True)
    for other in (replace(HUB, digest="commit:def"), replace(HUB, uri="hf://owner/name/test")):
        assert content.lacking(other, access=access) is not None
        with pytest.raises(ValueError, match="without a copy"):
            list(content.rows(other, access=offline))
    assert content.lacking(HUB, access=access) is None


def test_a_copy_that_breaks_off_is_no_copy(access, monkeypatch):
    import datasets

    def load_dataset(*_, **__):
        yield from ROWS[:1500]
        raise ConnectionError("the network went away")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ValueError, match="the network went away"):
        content.fetch(HUB, access=access)
    assert list((access.cache / "hub").iterdir()) == []
    rows = [{"a": 1}, {"a": "b", "image": object()}]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: iter(rows))
    with pytest.raises(
        ValueError, match=r"owner--name--train.*row 2 cannot be kept: column 'image'"
    ):
        content.fetch(HUB, access=access)
    assert list((access.cache / "hub").iterdir()) == []


def test_every_source_of_a_plan_is_named_once_wherever_it_stands():
    tokenizer = PretrainedTokenizer(source=PYPI, sentinels=16)
    corpus = replace(corpus_of(HUB, FILE), tokenizer=tokenizer)
    run = made.pretrain(corpus=corpus)
    suite = replace(made.SUITE, tasks=(replace(made.SUITE.tasks[0], rows=HUB),))
    score = Evaluation(slug="e", run=run, step=10, suite=suite)
    external = External(slug="x", source=FILE, architecture="causal_decoder")
    found = fetch.sources_of([corpus, run, score, external])
    assert found == (HUB, FILE, PYPI, made.TEMPLATES)
    assert fetch.sources_of([run, external]) == ()


def test_what_is_missing_is_named(access):
    runs = [corpus_of(HUB, FILE, PYPI, made.ROWS)]
    names = [word.partition(": ")[0] for word in fetch.lacking(runs, access=access)]
    assert names == [HUB.uri, FILE.uri, PYPI.uri]
    (access.data_dirs[0] / "here.jsonl").touch()
    archives = access.cache / "pypi" / "made-1.0" / "archives"
    archives.mkdir(parents=True)
    (archives / "made-1.0.tar.gz").touch()
    names = [word.partition(": ")[0] for word in fetch.lacking(runs, access=access)]
    assert names == [HUB.uri]


def test_a_launch_to_nodes_without_a_network_refuses_what_is_not_here(tmp_path, stream):
    path = tmp_path / "site.toml"
    path.write_text(f'[execution]\noffline = true\ncache = "{tmp_path}/cache"\n')
    offline = profile.load(path)
    runs = [corpus_of(HUB), made.pretrain(corpus=corpus_of(HUB))]
    away = launch.away_from(runs, profile=offline)
    assert "offline and 1 sources are not here: hf://owner/name" in away
    # what is tokenised already needs no source
    assert launch.away_from(runs[1:], profile=offline) == ""
    fetch.fetch(runs, access=Access(data_dirs=(), cache=tmp_path / "cache"), say=print)
    assert launch.away_from(runs, profile=offline) == ""
    path.write_text("")
    other = corpus_of(replace(HUB, digest="commit:other"))
    assert launch.away_from([other], profile=profile.load(path)) == ""


def test_the_command_names_each_source(tmp_path):
    (tmp_path / "here.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:50]))
    sweep = tmp_path / "sweep.py"
    text = (
        "import sys\n"
        f"sys.path[:0] = {[str(MADE)]!r}\n"
        "from made_sources import FILE, corpus_of\n"
        "def runs():\n    return [corpus_of(FILE)]\n"
    )
    sweep.write_text(text)
    command = [sys.executable, "-m", "study.cli", "fetch", str(sweep), "--data-dir", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=HOME)
    assert answer.returncode == 2
    assert "file://here.jsonl" in answer.stderr
    assert "has sha256" in answer.stderr
