"""Measured times: every model of a sweep, at every length, kept beside the store."""

import functools
import json
from dataclasses import replace
from pathlib import Path

import made_runs as made
import pytest
from typer.testing import CliRunner

from study import cli
from study.language.model import timing
from study.language.values.objective import PrefixLM
from study.runs.identity import canonical
from study.store import times

LENGTHS = (16, 32, 64)
SWEEP = f"""\
\"\"\"Made runs.\"\"\"
import sys
sys.path.insert(0, {str(Path(__file__).parents[3] / "made")!r})
import made_runs as made
def runs():
    yield made.pretrain()
"""


def pretrain(architecture, **fields):
    run = made.pretrain()
    objective = run.objective if architecture == "causal_decoder" else PrefixLM(length=32)
    model = replace(run.model, architecture=architecture, **fields)
    return replace(run, slug=architecture, model=model, objective=objective)


def test_every_model_is_measured_once_at_every_length():
    state_space = {"mixer": "ssd", "positions": "none", "d_state": 4}
    runs = [
        pretrain("causal_decoder"),
        replace(pretrain("causal_decoder"), seed=2),
        pretrain("prefix_decoder", **state_space),
        pretrain("encoder_decoder", **state_space),
    ]
    found = timing.measure(runs, threads=1, lengths=LENGTHS)
    assert [each.model for each in found] == [canonical(runs[place].model) for place in (0, 2, 3)]
    for each in found:
        assert each.lengths == LENGTHS
        assert len(each.seconds) == 3
        assert min(each.seconds) > 0
        assert each.threads == 1
        assert each.backend == "torch"
        assert each.machine


def test_a_measured_row_has_the_length_and_the_prefix_that_is_said():
    for architecture, inputs in (
        ("causal_decoder", 0),
        ("prefix_decoder", 20),
        ("encoder_decoder", 20),
    ):
        row = timing.row(replace(made.MODEL, architecture=architecture), 40)
        assert row.content_tokens == 40
        assert row.loss_tokens == 40 - inputs


def test_longer_rows_take_longer():
    (found,) = timing.measure([pretrain("causal_decoder")], threads=1, lengths=(16, 512, 2048))
    assert found.seconds[2] > found.seconds[0]


def test_the_file_gives_back_what_was_measured(tmp_path):
    found = timing.measure([pretrain("causal_decoder")], threads=1, lengths=LENGTHS)
    assert times.load(tmp_path) == ()
    assert times.save(found, tmp_path / "runs").parent == tmp_path / "runs"
    assert times.load(tmp_path / "runs") == found


@pytest.mark.parametrize("content", ["no json", '[{"lengths": [1]}]', "[3]"])
def test_another_file_is_named(tmp_path, content):
    (tmp_path / times.FILE).write_text(content)
    with pytest.raises(ValueError, match=f"{times.FILE}: not a file of `study mixers"):
        times.load(tmp_path)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="nothing is pretrained"):
        timing.measure([made.CORPUS], threads=1)
    with pytest.raises(ValueError, match="legal: three or more"):
        timing.measure([made.pretrain()], threads=1, lengths=(16, 32))


def test_the_command_measures_a_sweep_and_leaves_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "measure", functools.partial(timing.measure, lengths=LENGTHS))
    sweep, store = tmp_path / "made.py", tmp_path / "runs"
    sweep.write_text(SWEEP)
    outcome = CliRunner().invoke(
        cli.app, ["mixers", "--measure", str(sweep), "--store", str(store), "--json"]
    )
    assert outcome.exit_code == 0, outcome.output
    (found,) = times.load(store)
    assert json.loads(outcome.stdout)[0]["seconds"] == list(found.seconds)
