"""Ids: what enters them, what doesn't, and the ids of everything declared.

A changed id orphans every result that somebody has. If a change is meant (a sweep was edited, a
`SEMANTICS` raised), write the golden file anew and let a reviewer see the diff:

    PYTHONPATH=tests/made python tests/study/runs/test_run.py
"""

import json
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path

import made_runs as made
import pytest

from study.language import values
from study.language.values.stages import lineage
from study.runs.identity import canonical, identity
from study.runs.node import steps_before
from study.runs.plan import load_sweep
from study.runs.source import Source
from study.runs.training import Cosine

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "ids.json"
SWEEPS = sorted((ROOT / "sweeps").glob("*.py"))


def _golden():
    return json.loads(GOLDEN.read_text())


def _ids(runs):
    return {run.slug: run.id for run in runs}


def test_ids_of_made_runs_are_golden():
    assert _ids(made.tree()) == _golden()["made"]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_ids_of_every_sweep_are_golden(path):
    known = _golden()["sweeps"].get(path.name)
    assert _ids(load_sweep(path).runs) == known, (
        f"the runs of {path.name} are not those of {GOLDEN.name}; if that is meant, run "
        "PYTHONPATH=tests/made python tests/study/runs/test_run.py and read the diff"
    )


def test_golden_file_names_no_sweep_that_is_gone():
    assert set(_golden()["sweeps"]) == {path.name for path in SWEEPS}


def test_slug_is_no_part_of_the_id_and_every_other_field_is():
    run = made.pretrain()
    assert replace(run, slug="other").id == run.id
    changed = {
        "corpus": replace(made.CORPUS, tokenizer=replace(made.CORPUS.tokenizer, sentinels=8)),
        "model": replace(made.MODEL, tied=False),
        "objective": replace(run.objective, length=33),
        "packing": replace(made.PACKING, eos_between=False),
        "training": made.training(learning_rate=2e-3),
        "seed": 2,
    }
    assert changed.keys() == {each.name for each in fields(run)} - {"slug"}
    for name, value in changed.items():
        assert replace(run, **{name: value}).id != run.id, name


def test_parents_enter_by_id():
    child, other = made.adapt(made.pretrain()), made.adapt(made.pretrain(seed=2))
    assert child.id != other.id
    assert (made.adapt(made.pretrain(slug="renamed"))).id == child.id
    assert identity(child)["parent"] == made.pretrain().id


def test_an_integer_in_a_float_field_is_that_float():
    assert made.pretrain(weight_decay=0).id == made.pretrain(weight_decay=0.0).id
    assert canonical(made.training(weight_decay=1))["optimizer"]["weight_decay"] == 1.0
    assert type(canonical(made.training(weight_decay=1))["optimizer"]["weight_decay"]) is float


def test_where_a_file_lies_is_no_part_of_the_id():
    here = Source(uri="file://a/x.jsonl", digest="sha256:1", text_field="t", where=(), part=None)
    assert identity(here) == identity(replace(here, uri="file://elsewhere/y.jsonl"))
    assert identity(here) != identity(replace(here, digest="sha256:2"))
    assert identity(here) != identity(replace(here, uri="file://a/x.parquet"))


def test_a_later_field_at_its_default_leaves_old_ids_alone():
    old = make_dataclass("Thing", [("size", int)], frozen=True, kw_only=True)
    new = make_dataclass(
        "Thing", [("size", int), ("extra", str, field(default="none"))], frozen=True, kw_only=True
    )
    assert canonical(old(size=3)) == canonical(new(size=3)) == canonical(new(size=3, extra="none"))
    assert canonical(new(size=3, extra="some"))["extra"] == "some"
    assert identity(old(size=3)) == identity(new(size=3))
    assert identity(new(size=3, extra="some")) != identity(old(size=3))


def test_raising_semantics_changes_the_id(monkeypatch):
    run = made.pretrain(seed=77)
    before = identity(run)
    monkeypatch.setattr(values.Pretrain, "SEMANTICS", values.Pretrain.SEMANTICS + 1)
    assert identity(run) != before


def test_raising_a_parts_semantics_moves_the_runs_that_hold_it_and_no_other(monkeypatch):
    pretrained = made.pretrain(seed=78)
    finetuned = made.finetune(pretrained)
    before = identity(finetuned), identity(pretrained), canonical(pretrained)
    monkeypatch.setattr(values.Prompted, "SEMANTICS", 2, raising=False)
    assert identity(finetuned) != before[0]
    assert canonical(finetuned)["objective"]["semantics"] == 2
    assert (identity(pretrained), canonical(pretrained)) == before[1:]


@dataclass(frozen=True, kw_only=True)
class Box:
    content: object


@pytest.mark.parametrize(
    "content",
    [lambda: 0, object(), {1, 2}, b"bytes", [1, 2], {"a": 1}, float("nan"), float("inf"), int],
    ids=["lambda", "object", "set", "bytes", "list", "dict", "nan", "inf", "type"],
)
def test_what_has_no_canonical_form_is_refused(content):
    with pytest.raises(TypeError, match="no canonical form"):
        canonical(Box(content=content))
    with pytest.raises(TypeError, match="no canonical form"):
        _ = replace(made.pretrain(), seed=content).id


def test_an_intermediate_step_under_a_horizon_is_no_parent():
    parent = made.pretrain(steps=10)
    made.adapt(parent, step=5)
    cosine = replace(
        parent,
        training=replace(parent.training, schedule=Cosine(warmup_steps=1, final_fraction=0.1)),
    )
    with pytest.raises(ValueError, match="schedule that ends at 10"):
        made.adapt(cosine, step=5)
    made.adapt(cosine, step=10)


def test_lineage():
    run = made.finetune(made.adapt(made.pretrain(steps=7), step=5, steps=3))
    assert lineage(run) == ("CD:FLM", "ND:MLM", "ND:MTF")
    assert steps_before(run) == 5 + 3


if __name__ == "__main__":
    ids = {
        "made": _ids(made.tree()),
        "sweeps": {path.name: _ids(load_sweep(path).runs) for path in SWEEPS},
    }
    GOLDEN.write_text(json.dumps(ids, indent=1) + "\n")
    print(f"wrote {GOLDEN.relative_to(ROOT)}: read its diff")
