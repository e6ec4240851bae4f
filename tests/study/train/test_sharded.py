"""Several ranks under every ZeRO stage against one process in plain torch."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_runs
import torch
from made_ranks import SHAPE, Batches, alone_case, case, run_case, start_ranks

from study.language.losses import TokenLosses
from study.language.model.build import build
from study.runs.execution import Execution
from study.train.checkpoint import read_tensors
from study.train.engine import NonFinite
from study.train.optimizer_shards import read_whole
from study.train.ranks import Place, single_process
from study.train.rendezvous import join
from study.train.sharded import ShardedEngine

HARNESS = Path(__file__).parents[2] / "made" / "made_ranks.py"
ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
STAGES = (0, 1, 2, 3)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _two_ranks(root):
    """What two ranks train in one start, by name."""
    plain = [
        case(f"{architecture} {zero}", architecture=architecture, zero=zero)
        for architecture in ARCHITECTURES
        for zero in STAGES
    ]
    sums = {"reduction": "sum", "clip_norm": None}
    varied = [
        case("sum 0", zero=0, training=sums),
        case("sum 2", zero=2, training=sums),
        case("sum 3", zero=3, training=sums),
        case("parts 1", zero=1, micro_batch=1),
        case("parts 2", zero=2, micro_batch=1),
        case("parts 3", zero=3, micro_batch=1),
        case("recomputed 3", zero=3, recompute="on", micro_batch=1),
        case("bfloat16 1", zero=1, training={"precision": "bfloat16_autocast"}),
        case("bfloat16 3", zero=3, training={"precision": "bfloat16_autocast"}),
        case("clipped 0", zero=0, training={"clip_norm": 0.05}),
        case("clipped 2", zero=2, training={"clip_norm": 0.05}),
        case("clipped 3", zero=3, training={"clip_norm": 0.05}),
        case("Adafactor 0", zero=0, recipe="Adafactor"),
        case("Muon 0", zero=0, recipe="Muon"),
    ]
    saving = [
        case(f"saved {zero}", zero=zero, save_at=3, save_to=str(root / f"two-{zero}"))
        for zero in STAGES
    ]
    going_on = [case(f"on {zero}", zero=zero, start=str(root / "one")) for zero in STAGES]
    return [*plain, *varied, *saving, *going_on]


def _start(world, cases, root):
    (root / "cases.json").write_text(json.dumps(cases))
    ranks = start_ranks(
        world, [HARNESS, root / "cases.json", root / "out.json"], directory=root / "meeting"
    )
    said = [rank.communicate(timeout=240)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * world, "\n".join(said)
    return json.loads((root / "out.json").read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def cases(root):
    return {one["name"]: one for one in _two_ranks(root)}


@pytest.fixture(scope="module")
def two(root, cases):
    alone_case(case("first", save_at=3, save_to=str(root / "one")))
    return _start(2, [*cases.values()], root)


def _same_curve(ours, theirs, *, rel=2e-5):
    assert [e["step"] for e in ours["steps"]] == [e["step"] for e in theirs["steps"]]
    for one, other in zip(ours["steps"], theirs["steps"], strict=True):
        assert one["digest"] == other["digest"]
        assert one["loss_tokens"] == other["loss_tokens"]
        assert one["learning_rate"] == other["learning_rate"]
        assert one["clipped"] == other["clipped"]
        assert one["loss"] == pytest.approx(other["loss"], rel=rel)
        assert one["z_loss"] == pytest.approx(other["z_loss"], rel=10 * rel)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=50 * rel)
    assert ours["validation"] == pytest.approx(theirs["validation"], rel=rel)
    assert ours["progress"]["data_digest"] == theirs["progress"]["data_digest"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_stage_gives_the_curve_of_one_process(two, cases, architecture):
    alone = alone_case(cases[f"{architecture} 0"])
    for zero in STAGES:
        _same_curve(two[f"{architecture} {zero}"], alone)


@pytest.mark.parametrize("kind", ["sum", "parts", "clipped", "Adafactor", "Muon"])
def test_reductions_accumulation_clipping_and_recipes(two, cases, kind):
    names = [name for name in cases if name.split()[0] == kind]
    # torch's Muon orthogonalises in bfloat16, which makes much of the last bits of a sum.
    rel = 3e-4 if kind == "Muon" else 2e-5
    for name in names:
        _same_curve(two[name], alone_case(cases[name]), rel=rel)
    if kind == "clipped":
        assert all(event["clipped"] for event in two[names[0]]["steps"])


def test_bfloat16_autocast_is_that_of_one_process(two, cases):
    """Rounding to 8 bits, so only far closer to each other than to float32."""
    for name in ("bfloat16 1", "bfloat16 3"):
        alone = alone_case(cases[name])
        _same_curve(two[name], alone, rel=2e-3)
        wide = alone_case(cases[name] | {"training": {}})
        ours, same, other = (one["steps"][0]["loss"] for one in (two[name], alone, wide))
        assert abs(ours - same) < abs(ours - other) / 10


def test_recomputed_activations_give_the_same_curve(two, cases):
    _same_curve(two["recomputed 3"], alone_case(cases["recomputed 3"] | {"recompute": "off"}))


@pytest.mark.parametrize("zero", STAGES)
def test_two_ranks_go_on_as_one(two, root, zero):
    assert two
    rest = alone_case(case("rest", start=str(root / f"two-{zero}")))
    whole = alone_case(case("whole"))
    _same_curve(rest, whole | {"steps": whole["steps"][3:]})


@pytest.mark.parametrize("zero", STAGES)
def test_one_goes_on_as_two(two, zero):
    whole = alone_case(case("whole"))
    _same_curve(two[f"on {zero}"], whole | {"steps": whole["steps"][3:]})


@pytest.mark.slow
def test_one_goes_on_as_three_and_two_as_three(two, root, tmp_path):
    assert two
    starts = {"one 0": "one", "one 1": "one", "one 3": "one", "two 2": "two-2", "two 3": "two-3"}
    goes_on = [
        case(name, zero=int(name[-1]), start=str(root / start)) for name, start in starts.items()
    ]
    # Two rows for three ranks a pass, and then none for two of them.
    idle = case("idle 3", zero=3, micro_batch=2)
    three = _start(3, [*goes_on, idle], tmp_path)
    whole = alone_case(case("whole"))
    for name in starts:
        _same_curve(three[name], whole | {"steps": whole["steps"][3:]})
    _same_curve(three["idle 3"], whole)


def test_dropout_is_equal_in_recomputation():
    kept, again = (
        run_case(case("x", training={"dropout": 0.2}, recompute=how), single_process())
        for how in ("off", "on")
    )
    for one, other in zip(kept["steps"], again["steps"], strict=True):
        assert (one["loss"], one["grad_norm"]) == (other["loss"], other["grad_norm"])


@pytest.mark.parametrize("zero", STAGES)
def test_an_infinite_gradient_stops_before_a_weight_has_moved(zero, tmp_path, monkeypatch):
    # ZeRO 3 replaces it for the rest of the process.
    monkeypatch.setattr(torch.nn.functional, "linear", torch.nn.functional.linear)
    training = tiny_runs.training(3)
    execution = Execution(zero=zero)
    with join(Place(), directory=tmp_path, device="cpu") as ranks:
        model = build(SHAPE, dropout=0.0, seed=3)
        engine = ShardedEngine(
            TokenLosses(model, training=training),
            training=training,
            execution=execution,
            ranks=ranks,
        )
        engine.forward_backward(Batches("causal_decoder").batch(0), denominator=1e-38)
        with pytest.raises(NonFinite):
            engine.step(1.0)
        engine.write_weights(_made(tmp_path / "after"))
    fresh = build(SHAPE, dropout=0.0, seed=3).state_dict()
    for name, value in read_tensors(tmp_path / "after" / "model.safetensors").items():
        assert value.equal(fresh[name]), name


def _made(directory):
    directory.mkdir()
    return directory


def test_a_missing_part_of_sharded_state_is_named(two, root, tmp_path):
    assert two
    shutil.copytree(root / "two-2", tmp_path / "cut")
    (tmp_path / "cut" / "optimizer-00000-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"optimizer-00001-of-00002.*legal: "):
        read_whole(tmp_path / "cut", {})
