"""Claims recorded before there was anything to decide them by, and claims that were not."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import made_reports as made
import pytest
from made_claims import paper_claims
from typer.testing import CliRunner

from eval.claims.claim import digest
from eval.claims.decided import by_size, post_hoc
from eval.claims.files import load
from eval.evidence.panel import panels
from study.cli import app
from study.language.values.stages import Pretrain
from study.runs.node import Evaluation
from study.runs.plan import Sweep
from study.store import declared
from study.store.directory import Store

CLAIMS = paper_claims("micro", 0.05)


def sweep_of(runs, claims=CLAIMS):
    module = ModuleType("made")
    module.CLAIMS = claims  # type: ignore[attr-defined]
    return Sweep(path=Path("made.py"), title="t", declared=runs, runs=runs, module=module)


@pytest.fixture
def study(tmp_path):
    return made.study(1), Store(tmp_path)


def publish_one(runs, store):
    run = next(each for each in runs if isinstance(each, Evaluation))
    made.publish(run, store, 0.5, draw=made.np.random.default_rng(0))
    return run


def test_recorded_before_the_first_score_is_not_post_hoc(study):
    runs, store = study
    assert post_hoc(CLAIMS, runs, store=store) == frozenset()
    assert len(declared.record_claims(sweep_of(runs), store=store)) == 18
    publish_one(runs, store)
    assert post_hoc(CLAIMS, runs, store=store) == frozenset()


def test_never_recorded_is_post_hoc_once_a_score_is_there(study):
    runs, store = study
    publish_one(runs, store)
    every = {claim.id for claim in CLAIMS}
    only_losses = {"C12", "C13", "C17"}
    assert post_hoc(CLAIMS, runs, store=store) == every - only_losses


def test_recorded_after_the_first_score_stays_post_hoc(study):
    runs, store = study
    publish_one(runs, store)
    declared.record_claims(sweep_of(runs), store=store)
    assert "C1" in post_hoc(CLAIMS, runs, store=store)
    # recording again is no second chance
    assert declared.record_claims(sweep_of(runs), store=store) == []


def test_an_edited_claim_is_another_claim(study):
    runs, store = study
    declared.record_claims(sweep_of(runs), store=store)
    publish_one(runs, store)
    edited = (replace(CLAIMS[0], text="otherwise"), *CLAIMS[1:])
    assert post_hoc(edited, runs, store=store) == {"C1"}
    margin = paper_claims("micro", 0.06)
    assert "C4" in post_hoc(margin, runs, store=store)


def test_a_claim_about_losses_looks_at_training(study):
    runs, store = study
    run = next(each for each in runs if isinstance(each, Pretrain))
    store.open(run).seal({"kind": "Pretrain"})
    assert post_hoc(CLAIMS, runs, store=store) == {"C12", "C13", "C17"}


def test_what_another_sweep_scored_does_not_count(study):
    """Scores of runs that this plan does not have: nothing could be read off them."""
    runs, store = study
    others = made.study(2)
    foreign = next(
        each
        for each in others
        if isinstance(each, Evaluation) and each.slug not in {run.slug for run in runs}
    )
    made.publish(foreign, store, 0.5, draw=made.np.random.default_rng(0))
    declared.record_claims(sweep_of(runs), store=store)
    assert post_hoc(CLAIMS, runs, store=store) == frozenset()
    assert "C1" in post_hoc(CLAIMS, others, store=store)


def test_a_record_that_cannot_be_read_is_named(study):
    runs, store = study
    declared.record_claims(sweep_of(runs), store=store)
    path = store.root / declared.FOLDER / f"{digest(CLAIMS[:1])}.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"not a record of a declaration"):
        post_hoc(CLAIMS, runs, store=store)


def test_a_late_claim_reads_post_hoc_beside_its_verdict(tmp_path):
    runs, store = made.study(3), Store(tmp_path)
    made.publish_all(runs, store)
    late = post_hoc(CLAIMS, runs, store=store)
    (block,) = by_size(panels(runs, store=store), CLAIMS, runs=runs, store=store, post_hoc=late)
    finals = {each.claim.id: block.resolved(each) for each in block.verdicts}
    assert finals["C5"].verdict == "replicated"
    assert finals["C5"].qualifier.startswith("post hoc")
    assert not finals["C11"].qualifier  # not run


SWEEP = '''
"""A made sweep."""
from eval.claims import files as claim_files
from eval.claims.claim import Benchmark
MICRO = Benchmark(suite="microworld", margin=0.05)
SUITES = {"eai": MICRO, "t0": MICRO}
CLAIMS = claim_files.load("wang2022", SUITES)
from study.language.recipes import microworld
from study.language.recipes.presets import small_training
from study.language.values import Evaluation, FullLM, Pretrain, Text, TrainedBPE, Corpus
from study.language.recipes.presets import world
from dataclasses import replace

def runs():
    corpus = Corpus(slug="text", documents=Text(sources=(world("text", documents=60, seed=1),),
        held_out=0.1), tokenizer=TrainedBPE(vocab_size=300, sentinels=8))
    model = replace(microworld.SETTING.model, layers=1, d_model=16, heads=1, d_head=16, d_ff=16,
        vocab_size=300)
    yield Pretrain(slug="cd", corpus=corpus, model=model, objective=FullLM(length=32),
        packing=microworld.SETTING.packing, training=small_training(1e-3, steps=2, batch_size=2),
        seed=0)
'''


def test_study_run_records_before_it_works_and_study_claims_says_so(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(SWEEP)
    store = tmp_path / "runs"
    before = json.loads(CliRunner().invoke(app, ["claims", str(path), "--json"]).output)
    ran = CliRunner().invoke(app, ["run", str(path), "--store", str(store), "--wandb", "off"])
    assert ran.exit_code == 0, ran.output
    records = sorted((store / declared.FOLDER).iterdir())
    assert {each.stem for each in records} == {row["digest"] for row in before}
    assert all(json.loads(each.read_text()) == {"sealed_before": []} for each in records)
    words = ["claims", str(path), "--store", str(store), "--json"]
    assert not any(row["post_hoc"] for row in json.loads(CliRunner().invoke(app, words).output))
    # another file's claims were not recorded, and C12 of it looks at the training that is done
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "source: me\nsuites: []\nclaims:\n- id: M1\n  text: sooner\n  kind: ratio\n"
        "  components:\n  - {measure: tokens_to_loss, high: CD:FLM, low: ND:MLM > CD:FLM}\n"
    )
    told = CliRunner().invoke(app, [*words, "--claims", str(mine)])
    (row,) = json.loads(told.output)
    assert (row["claim"], row["post_hoc"], row["verdict"]) == ("M1", True, "not run")
    assert row["reason"] == "no finished held-out losses of ND:MLM → CD:FLM"


def test_another_papers_claims_on_a_sweep_that_names_its_suites(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(SWEEP)
    words = ["claims", str(path), "--store", str(tmp_path / "runs")]
    told = CliRunner().invoke(app, [*words, "--claims", "redllm2025", "--json"])
    rows = json.loads(told.output)
    assert [row["claim"] for row in rows] == ["R1", "R2", "R3"]
    assert [row["digest"] for row in rows] == [
        digest((claim,)) for claim in load("redllm2025", _suites(path))
    ]
    path.write_text(SWEEP.replace("SUITES = ", "OTHER = ").replace(", SUITES)", ", OTHER)"))
    told = CliRunner().invoke(app, [*words, "--claims", "redllm2025"])
    assert told.exit_code == 2
    assert "says not which suite is eai and t0" in told.output
    told = CliRunner().invoke(app, [*words, "--claims", "nobody"])
    assert told.exit_code == 2
    assert "no claims are named 'nobody'; legal: redllm2025, wang2022" in told.output


def _suites(path):
    from study.runs.plan import load_sweep

    return load_sweep(path).module.SUITES
