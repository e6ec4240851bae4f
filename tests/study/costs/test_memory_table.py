"""`study plan --memory`: a line a cell, a column a ZeRO stage, and why one is missing."""

import json
from dataclasses import replace
from pathlib import Path

import made_runs as made

from study.costs import memory_table
from study.costs.memory import forecast
from study.language.recipes import presets
from study.runs.plan import Sweep, close


def shown(capsys, *runs, as_json=False, **setting):
    values = {"ranks": 1, "micro_batch": None, "activation_checkpointing": "off"} | setting
    sweep = Sweep(path=Path("made.py"), title="Made", declared=runs, runs=close(runs))
    chosen = memory_table.Setting(**values)
    memory_table.show(sweep, setting=chosen, as_json=as_json)
    return capsys.readouterr().out


def test_cells_of_one_kind_share_a_line(capsys):
    text = shown(capsys, *made.tree(), made.pretrain("again", seed=2))
    lines = text.splitlines()
    assert lines[3].split() == ["stage", "cell", "parameters", "torch"] + [
        word for zero in range(4) for word in ("ZeRO", str(zero))
    ]
    assert [line.split()[:2] for line in lines[4:]] == [
        ["Pretrain", "CD:FLM"],
        ["Adapt", "ND:MLM"],
        ["Finetune", "ND:MTF"],
    ]


def test_several_ranks_have_no_column_of_plain_torch(capsys):
    assert "torch" not in shown(capsys, made.pretrain(), ranks=2)


def test_json_holds_the_parts_of_each_peak(capsys):
    run = made.pretrain()
    found = json.loads(shown(capsys, run, as_json=True, ranks=2, micro_batch=1))
    said = forecast(run, zero=2, ranks=2, micro_batch=1, activation_checkpointing="off")
    assert next(line for line in found if line["zero"] == 2)["forecast"]["total"] == said.total
    assert [line["zero"] for line in found] == [0, 1, 2, 3]


def test_what_an_optimizer_cannot_do_is_a_hole_with_its_reason(capsys):
    run = made.pretrain()
    recipe = presets.paper_pretraining(steps=10).optimizer
    run = replace(run, training=replace(run.training, optimizer=recipe))
    text = shown(capsys, run, ranks=2)
    line = next(line for line in text.splitlines() if line.startswith("Pretrain"))
    assert line.split()[-3:] == ["-", "-", "-"]
    assert "Adafactor" in text.splitlines()[-1]


def test_a_mixer_without_a_forecast_is_a_hole_with_its_reason(capsys):
    run = made.pretrain()
    run = replace(run, model=replace(run.model, mixer="ssd", positions="none", d_state=4))
    text = shown(capsys, run)
    assert "'ssd'" in text.splitlines()[-1]
