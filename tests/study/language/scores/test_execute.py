"""A real tiny tree from text to published scores, and what must make a score new."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import smallest
import torch
from safetensors.torch import load_file, save_file

from eval.evidence.panel import read
from study.language.data.corpus import corpus_path
from study.language.recipes.presets import world, world_suite_task
from study.language.scores import execute as execute_module
from study.language.scores import tasks as suites
from study.language.scores.execute import execute
from study.language.scores.subjects import directory_digest, open_directory, open_run
from study.language.values.conventions import LM_EVAL
from study.language.values.stages import External
from study.language.values.suite import Scoring
from study.launch.local import remaining
from study.runs.cells import Naming
from study.runs.execution import Execution
from study.runs.node import Evaluation
from study.runs.plan import Sweep, close
from study.runs.source import Source
from study.runs.suite import Suite
from study.sources.content import Access
from study.store.directory import CorruptError, Store
from study.train.work import execute as train


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A pretraining of a few steps, its corpus, and an evaluation that is not run yet."""
    root = tmp_path_factory.mktemp("tree")
    corpus, pretrain = smallest.CORPUS, smallest.pretrain(length=64)
    suite = Suite(
        name="micro",
        scoring=Scoring(end_of_sequence=True, truncation="left"),
        tasks=(
            world_suite_task("effect", rows=8, seed=9, chance=0.5, role="headline"),
            replace(
                world_suite_task("effect", rows=8, seed=9, chance=0.0, role="probe"),
                name="prose",
                rows=world("text", documents=3, seed=77),
                templates=None,
                metric="rolling",
            ),
        ),
    )
    execution = Execution(cache=root / "cache", data_dirs=(root,), offline=True)
    store = Store(root / "runs")
    for run in (corpus, pretrain):
        train(run, store=store, execution=execution)
    return Evaluation(slug="scores", run=pretrain, step=2, suite=suite), store, execution, root


def published(run, store):
    directory = store.existing(run)
    place = directory.scores(directory.done()["scores"])
    results = json.loads((place / "results.json").read_text())
    return place, results, pq.read_table(place / "items.parquet")


def test_scores_are_published_once_and_overwritten_weights_are_other_weights(tree):
    run, store, execution, _ = tree
    seen = []
    execute(run, store=store, execution=execution, report=seen.append)
    place, results, table = published(run, store)
    assert {event["stage"] for event in seen} == {"scoring"}
    assert results["tasks"]["effect/plain"]["twins"]
    assert results["tasks"]["effect/plain"]["items"] == 8
    assert results["max_length"] == 64
    assert results["convention"] == "study"
    assert results["tasks"]["effect/plain"]["spanning"] == 0  # encoded apart
    # eight questions in pairs that share their choices: each is read once for both of them
    assert results["forward_positions"]["shared"] > results["forward_positions"]["own"] > 0
    own = [row for row in table.to_pylist() if row["template"] == "plain"]
    accuracy = sum(row["correct"] for row in own) / 8
    assert results["tasks"]["effect/plain"]["lm_eval"]["acc"] == pytest.approx(accuracy)
    assert results["tasks"]["prose"]["lm_eval"]["bits_per_byte"] > 0
    assert read(run, naming=Naming([run]), store=store).hole == ""

    stamp = (place / "items.parquet").stat().st_mtime_ns
    execute(run, store=store, execution=execution)
    assert (place / "items.parquet").stat().st_mtime_ns == stamp

    # Weights change in place, with a manifest that fits them: a checkpoint of another training.
    checkpoint = store.existing(run.run).checkpoint_path(2)
    weights = load_file(checkpoint / "model.safetensors")
    changed = {name: value + 0.1 for name, value in weights.items()}
    save_file(changed, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptError, match=r"model\.safetensors"):
        execute(run, store=store, execution=execution)
    from study.store.publish import sha256

    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = {
        "bytes": (checkpoint / "model.safetensors").stat().st_size,
        "sha256": sha256(checkpoint / "model.safetensors"),
    }
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    assert read(run, naming=Naming([run]), store=store).hole.startswith("stale")
    execute(run, store=store, execution=execution)
    other, other_results, _ = published(run, store)
    assert other != place
    assert place.is_dir()
    assert other_results["digests"]["weights"] != results["digests"]["weights"]
    assert read(run, naming=Naming([run]), store=store).hole == ""


def export(tree):
    run, store, _, root = tree
    directory = root / "exported"
    if not directory.exists():
        directory.mkdir()
        checkpoint = store.existing(run.run).checkpoint_path(2)
        for name in ("config.json", "model.safetensors"):
            shutil.copy(checkpoint / name, directory / name)
        tokenizer = corpus_path(store, run.run.corpus) / "tokenizer.json"
        shutil.copy(tokenizer, directory / "tokenizer.json")
    return directory


def external(directory, *, architecture="causal_decoder"):
    source = Source(
        uri=f"file://{directory.name}",
        digest=f"sha256:{directory_digest(directory)}",
        text_field="",
        where=(),
        part=None,
    )
    return External(slug="from-elsewhere", source=source, architecture=architecture)


def test_an_external_directory_is_checked_and_scored(tree):
    run, store, execution, _ = tree
    outside = external(export(tree))
    execute(outside, store=store, execution=execution)
    done = store.existing(outside).done()
    assert done["parameters"] > 0
    scored = Evaluation(slug="external", run=outside, step=0, suite=run.suite)
    execute(scored, store=store, execution=execution)
    assert read(scored, naming=Naming([scored]), store=store).key.lineage == ("from-elsewhere",)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ({"digest": "sha256:0"}, "but the run names sha256:0"),
        ({"uri": "file://nowhere"}, "no directory 'nowhere'"),
        ({"uri": "hf://someone/model", "digest": "commit:1"}, "40 hexadecimal digits"),
        ({"uri": "world://text", "digest": "world:1"}, "legal: file://DIRECTORY, hf://OWNER/NAME"),
        (
            {"uri": "hf://someone/model", "digest": f"commit:{'a' * 40}"},
            "offline and has no copy",
        ),
    ],
)
def test_a_wrong_external_is_named(tree, source, match):
    _, store, execution, _ = tree
    good = external(export(tree))
    bad = replace(good, source=replace(good.source, **source))
    with pytest.raises(ValueError, match=match):
        execute(bad, store=store, execution=execution)


def test_a_wrong_architecture_is_named(tree):
    _, store, execution, _ = tree
    with pytest.raises(ValueError, match="declares encoder_decoder"):
        execute(
            external(export(tree), architecture="encoder_decoder"),
            store=store,
            execution=execution,
        )


def test_a_pickle_is_never_read(tree, tmp_path):
    directory = tmp_path / "pickled"
    shutil.copytree(export(tree), directory)
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    torch.save(weights, directory / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled weights are not read"):
        open_directory(directory)


def test_a_run_directory_opens_at_its_last_checkpoint(tree):
    run, store, _, _ = tree
    whole = open_directory(store.directory(run.run))
    one = open_directory(store.existing(run.run).checkpoint_path(2))
    assert whole.weights == one.weights
    assert whole.subject.max_length == 64
    with pytest.raises(ValueError, match="holds a Corpus"):
        open_directory(store.directory(run.run.corpus))


def test_a_stop_in_the_middle_publishes_nothing(tree):
    import os
    import signal

    from study.train.signals import Interrupted

    run, store, execution, _ = tree
    other = replace(run, slug="stopped", suite=replace(run.suite, name="stopped"))

    def report(event):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM"):
        execute(other, store=store, execution=execution, report=report)
    assert store.existing(other).done() is None
    assert not list(store.existing(other).path.glob("scores/[!.]*"))
    execute(other, store=store, execution=execution)
    assert store.existing(other).done() is not None


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


FILES = ("items.parquet", "results.json", "manifest.json")
DAMAGES = [(damage, name) for damage in (cut, flip) for name in FILES]
DAMAGES += [(cut, "done.json"), *((Path.unlink, name) for name in FILES[:2])]


@pytest.mark.parametrize(
    ("damage", "name"), DAMAGES, ids=[f"{damage.__name__} {name}" for damage, name in DAMAGES]
)
def test_damaged_scores_are_no_scores_and_are_made_again(tree, damage, name):
    """One file at a time: a hole in every table until `study eval` has scored again."""
    run, store, execution, _ = tree
    execute(run, store=store, execution=execution)
    sweep = Sweep(path=Path("made.py"), title="t", declared=(run,), runs=close([run]))
    before = {each.id for each in remaining(sweep, store=store)}
    place, _, table = published(run, store)
    damage((store.existing(run).path if name == "done.json" else place) / name)
    found = read(run, naming=Naming([run]), store=store)
    assert found.results is None
    assert found.hole.startswith("scores unreadable")
    assert name in found.hole
    assert {each.id for each in remaining(sweep, store=store)} == before | {run.id}
    told = []
    execute(run, store=store, execution=execution, report=told.append)
    assert any(name in each["message"] for each in told if each["event"] == "warning")
    assert {each.id for each in remaining(sweep, store=store)} == before
    assert published(run, store)[2].equals(table)
    assert read(run, naming=Naming([run]), store=store).hole == ""


def test_another_rule_limit_or_tokenizer_is_another_score(tree, monkeypatch):
    run, store, execution, _ = tree
    access = Access(data_dirs=(), cache=execution.cache, offline=True)
    prompts = suites.build(run.suite, access=access)
    opened = open_run(run.run, run.step, store=store, execution=execution)
    own = execute_module.score_digest(opened, prompts=prompts, run=run)
    assert execute_module.score_digest(opened, prompts=prompts, run=run) == own

    longer = replace(opened, subject=replace(opened.subject, max_length=63))
    assert execute_module.score_digest(longer, prompts=prompts, run=run) != own
    assert execute_module.score_digest(opened, prompts=prompts[:-1], run=run) != own
    other = replace(run, suite=replace(run.suite, scoring=LM_EVAL))
    assert execute_module.score_digest(opened, prompts=prompts, run=other) != own
    monkeypatch.setattr(execute_module, "SCORER_VERSION", execute_module.SCORER_VERSION + 1)
    assert execute_module.score_digest(opened, prompts=prompts, run=run) != own


def half(tree, dtype):
    """The export, saved again in another type by its user."""
    directory = tree[3] / f"exported-{dtype}".replace("torch.", "")
    if not directory.exists():
        model = open_directory(export(tree)).subject.model.to(dtype)
        model.save_pretrained(directory)
        shutil.copy(export(tree) / "tokenizer.json", directory / "tokenizer.json")
    return directory


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_an_export_is_scored_in_float32_whatever_its_user_saved(tree, dtype):
    run, store, execution, _ = tree
    directory = half(tree, dtype)
    opened = open_directory(directory)
    assert {each.dtype for each in opened.subject.model.parameters()} == {torch.float32}
    saved = load_file(directory / "model.safetensors")
    assert all(
        torch.equal(each, saved[name].float())
        for name, each in opened.subject.model.state_dict().items()
    )
    outside = external(directory)
    scored = Evaluation(slug=f"scored-{dtype}", run=outside, step=0, suite=run.suite)
    for each in (outside, scored):
        execute(each, store=store, execution=execution)
    stored = str(dtype).removeprefix("torch.")
    done = store.existing(outside).done()
    assert (done["precision"], done["stored"], done["left_out"]) == ("float32", [stored], [])
    _, results, _ = published(scored, store)
    assert (results["precision"], results["stored"]) == ("float32", [stored])


def test_an_export_that_overflowed_is_refused_by_name(tree, tmp_path):
    directory = tmp_path / "overflowed"
    shutil.copytree(half(tree, torch.float16), directory)
    weights = load_file(directory / "model.safetensors")
    name = next(name for name in weights if "mlp" in name)
    weights[name] = (weights[name].float() + 1e6).half()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"{name} hold values that are not finite"):
        open_directory(directory)


def test_only_scores_that_precision_changed_have_another_name(tree):
    run, _, execution, _ = tree
    prompts = suites.build(
        run.suite, access=Access(data_dirs=(), cache=execution.cache, offline=True)
    )

    def before(opened):
        """A score's name as it was when a T5 or an export was computed as it is stored."""
        form = {
            "weights": opened.weights,
            "tokenizer": opened.tokenizer.digest,
            "tasks": suites.digest(prompts),
            "scoring": {"end_of_sequence": True, "truncation": "left"},
            "scorer": 1,
            "max_length": opened.subject.max_length,
        }
        return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()

    def name(opened):
        return execute_module.score_digest(opened, prompts=prompts, run=run)

    full, short = open_directory(export(tree)), open_directory(half(tree, torch.float16))
    assert name(full) == before(full)
    assert name(short) != before(short)
    foreign = replace(short, subject=replace(short.subject, model=torch.nn.Module()))
    assert name(foreign) == before(foreign)  # other families were in float32 before


def test_scores_of_before_are_stale_until_their_checkpoint_is_opened_again(tree):
    run, store, execution, _ = tree
    outside = external(export(tree))
    scored = Evaluation(slug="of-before", run=outside, step=0, suite=run.suite)
    for each in (outside, scored):
        execute(each, store=store, execution=execution)
    sweep = Sweep(path=Path("made.py"), title="t", declared=(scored,), runs=close([scored]))
    assert remaining(sweep, store=store) == []
    directory = store.existing(scored)
    seal = directory.done()
    directory.seal({name: value for name, value in seal.items() if name != "precision"})
    hole = read(scored, naming=Naming([scored]), store=store).hole
    assert hole.startswith("stale: scored before the precision was one decision")
    assert remaining(sweep, store=store) == [scored]
    stamp = (directory.scores(seal["scores"]) / "items.parquet").stat().st_mtime_ns
    execute(scored, store=store, execution=execution)
    assert directory.done() == seal  # stored in float32, it keeps its name and its scores
    assert (directory.scores(seal["scores"]) / "items.parquet").stat().st_mtime_ns == stamp
    assert read(scored, naming=Naming([scored]), store=store).hole == ""
    assert remaining(sweep, store=store) == []
