import errno
import json
import math
import os
import pickle
from dataclasses import asdict, replace

import pytest
import tiny_runs
import torch

from study.language.huggingface import opened
from study.language.layout import Segment, layout
from study.language.losses import TokenLosses
from study.language.model.build import build
from study.store.directory import RunDirectory
from study.store.lease import LeaseLost, acquire
from study.store.publish import CorruptError, verify
from study.train import checkpoint
from study.train.callbacks import Records, RunCallbacks
from study.train.checkpoint import Progress
from study.train.engine import TorchEngine
from study.train.mirror import Mirror
from study.train.signals import Stop


def _engine(*, tied=True):
    shape = replace(tiny_runs.MODEL, tied=tied, vocab_size=64)
    model, training = build(shape, dropout=0.0, seed=3), tiny_runs.training(4)
    return TorchEngine(TokenLosses(model, training=training), training=training)


def _moved(engine):
    """The engine after one update, so that the optimiser has a state."""
    tokens = torch.arange(2, 22, dtype=torch.int32).numpy()
    batch = layout([(Segment(inputs=tokens[:0], targets=tokens),)], architecture="causal_decoder")
    engine.forward_backward(batch, denominator=20.0)
    engine.step(1.0)
    return engine


def _callbacks(directory, engine, *, keep=frozenset()):
    return RunCallbacks(
        stop=Stop(),
        directory=RunDirectory(directory),
        lease=None,  # type: ignore[arg-type]
        engine=engine,
        run="r" * 64,
        keep=keep,
        steps=4,
        report=lambda _: None,
        records=Records(
            log=None,
            mirror=Mirror(tiny_runs.pretrain(), mode="off", directory=directory, warn=print),
        ),
        flops_per_step=1.0,
        peak_flops=None,
    )


@pytest.fixture
def saved(tmp_path):
    """A run directory with checkpoints of steps 1 and 2, both kept, and its callbacks."""
    engine = _moved(_engine())
    with acquire(tmp_path) as lease:
        callbacks = _callbacks(tmp_path, engine, keep=frozenset({1, 2}))
        callbacks.lease = lease
        for step in (1, 2):
            callbacks.save(Progress(step=step))
        yield callbacks


def test_weights_and_optimiser_come_back_bit_for_bit(tmp_path):
    engine = _moved(_engine(tied=False))
    engine.write(tmp_path)
    other = _engine(tied=False)
    weights = checkpoint.read_tensors(tmp_path / "model.safetensors")
    checkpoint.load_weights(other.model, tensors=weights)
    other.read_optimizer(tmp_path)
    for name, value in engine.model.state_dict().items():
        assert value.equal(other.model.state_dict()[name]), name
    assert engine.optimizer.tensors().keys() == other.optimizer.tensors().keys()
    for name, value in engine.optimizer.tensors().items():
        assert value.equal(other.optimizer.tensors()[name]), name


def test_a_checkpoint_holds_what_hugging_face_reads(saved):
    path = saved.directory.checkpoint(2)
    assert {file.name for file in path.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        "manifest.json",
    }
    model = opened.load_model(saved.directory, 2)
    assert not model.training
    for name, value in saved.engine.model.state_dict().items():
        assert value.equal(model.state_dict()[name]), name


def test_state_comes_back_with_its_generators(tmp_path):
    progress = Progress(
        step=7,
        tokens=70,
        loss_tokens=60,
        clipped_steps=2,
        data_digest="ab",
        validated_step=5,
        validation_loss=3.25,
        train_seconds=1.5,
        wall_seconds=2.5,
    )
    torch.manual_seed(4)
    checkpoint.write_state(tmp_path, run="a" * 64, progress=progress)
    expected = torch.rand(3)
    torch.manual_seed(99)
    assert checkpoint.read_state(tmp_path, run="a" * 64) == progress
    assert torch.rand(3).equal(expected)


def test_nothing_was_done_before_the_first_step():
    begun = asdict(Progress())
    assert begun.pop("validated_step") == -1
    assert not any(begun.values())


def test_generators_of_every_card_come_back(tmp_path, monkeypatch):
    """Of those that are here: a run may go on with fewer."""
    states = [torch.arange(16, dtype=torch.uint8) + n for n in range(3)]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    checkpoint.write_state(tmp_path, run="a" * 64, progress=Progress())
    found = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda new, at: found.update({at: new}))
    checkpoint.read_state(tmp_path, run="a" * 64)
    assert list(found) == ["cuda:0", "cuda:1"]
    assert all(found[f"cuda:{n}"].equal(states[n]) for n in range(2))


def test_another_runs_state_is_refused(tmp_path):
    checkpoint.write_state(tmp_path, run="a" * 64, progress=Progress())
    with pytest.raises(ValueError, match="belongs to run aaaaaaaaaaaa; legal: bbbbbbbbbbbb"):
        checkpoint.read_state(tmp_path, run="b" * 64)


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"progress": {"step": 1}}, {"progress": asdict(Progress()) | {"more": 1}}],
)
def test_another_formats_state_is_refused(tmp_path, change):
    checkpoint.write_state(tmp_path, run="a" * 64, progress=Progress())
    file = tmp_path / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=r"state\.json"):
        checkpoint.read_state(tmp_path, run="a" * 64)


def test_progress_survives_json():
    progress = Progress(step=3, train_seconds=0.1 + 0.2)
    assert Progress(**json.loads(json.dumps(asdict(progress)))) == progress


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_where_safetensors_are_expected_is_refused_unread(tmp_path):
    sprung = tmp_path / "sprung"
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ValueError, match=r"model\.safetensors is not a safetensors file"):
        checkpoint.read_tensors(tmp_path / "model.safetensors")
    torch.save({"weight": Trap(sprung)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="pickle"):
        opened.read_model(tmp_path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("decoder.norm.weight"), r"missing \['decoder.norm.weight'\]"),
        (lambda t: t.update(other=torch.zeros(1)), r"unknown \['other'\]"),
        (
            lambda t: t.update({"decoder.norm.weight": torch.zeros(9)}),
            r"decoder.norm.weight \(9,\)",
        ),
        (
            lambda t: t.update({"decoder.norm.weight": torch.zeros(32, dtype=torch.bfloat16)}),
            "bfloat16",
        ),
    ],
    ids=["missing", "unknown", "shape", "type"],
)
def test_weights_that_do_not_fit_are_refused(change, message):
    model = _engine().model
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    change(tensors)
    with pytest.raises(ValueError, match=message):
        checkpoint.load_weights(model, tensors=tensors)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_weight_that_is_no_number_is_written(tmp_path, value):
    engine = _engine()
    with torch.no_grad():
        engine.model.decoder.norm.weight[3] = value
    with pytest.raises(checkpoint.NonFinite, match=r"decoder\.norm\.weight"):
        opened.write_model(tmp_path, model=engine.model)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_tied_weight_is_stored_once_and_read_under_either_name():
    tied = _engine(tied=True).model
    tied.again = tied.embedding  # two names of one tensor
    tensors = {name: value + 1 for name, value in tied.state_dict().items()}
    expected = tensors["embedding.weight"].clone()
    del tensors["embedding.weight"]
    checkpoint.load_weights(tied, tensors=tensors)
    assert tied.embedding.weight.equal(expected)
    del tensors["again.weight"]
    with pytest.raises(ValueError, match="missing"):
        checkpoint.load_weights(tied, tensors=tensors)


def test_only_named_checkpoints_and_the_newest_stay(saved):
    saved.keep = frozenset({1})
    for step in (3, 4):
        saved.save(Progress(step=step))
    assert saved.directory.steps() == [1, 4]


def test_an_old_checkpoint_goes_only_after_its_successor_is_published(saved, monkeypatch):
    saved.keep = frozenset()

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved.engine, "write", fail)
    with pytest.raises(OSError, match="step 2 is the last checkpoint"):
        saved.save(Progress(step=3))
    assert saved.directory.checkpoints() == [1, 2]


def test_who_was_overtaken_saves_nothing_and_drops_nothing(saved):
    saved.keep = frozenset()
    saved.lease._lost.set()
    with pytest.raises(LeaseLost, match="another process took over"):
        saved.save(Progress(step=3))
    assert saved.directory.steps() == [1, 2]


@pytest.mark.parametrize("call", ["fsync", "replace", "rename"])
def test_a_full_disk_in_a_save_leaves_the_last_good_checkpoint(saved, monkeypatch, call):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(
            OSError, match=r"checkpoint of step 3 .*No space left.*step 2 is the last"
        ):
            saved.save(Progress(step=3))
    assert saved.directory.checkpoints() == [1, 2]
    left = {path.name for path in (saved.directory.path / "checkpoints").iterdir()}
    assert left == {"step-00000001", "step-00000002"}
    saved.save(Progress(step=3))
    assert saved.directory.checkpoints() == [1, 2, 3]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_named(saved, file, damage):
    path = saved.directory.checkpoint_path(2) / file
    content = bytearray(path.read_bytes())
    match damage:
        case "flip":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-3])
        case "remove":
            path.unlink()
    with pytest.raises(CorruptError, match=file):
        verify(saved.directory.checkpoint_path(2))


def test_the_runs_id_is_in_the_state(saved):
    saved.run = tiny_runs.pretrain().id
    saved.save(Progress(step=4))
    state = json.loads((saved.directory.checkpoint_path(4) / "state.json").read_text())
    assert state["run"] == tiny_runs.pretrain().id


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_is_read_in_float32_and_from_shards(tmp_path, dtype):
    from study.language.huggingface.auto import pretrained

    built = pretrained(_engine().model).to(dtype)
    built.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    read = opened.read_model(tmp_path)
    state = read.state_dict()
    assert {each.dtype for each in state.values()} == {torch.float32}
    assert all(state[name].equal(each.float()) for name, each in built.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"d_ff": 7}, r"mismatched_keys: .*mlp"),
        ({"heads": "4"}, r"config\.json is no model's here: TypeError"),
        ({"layers": 1}, "unexpected_keys"),
        ({"model_type": "gpt2"}, "model_type is 'gpt2'; legal: study_decoder, study_encoder_deco"),
    ],
)
def test_a_config_that_does_not_fit_its_tensors_is_refused_by_name(tmp_path, changes, match):
    _engine().write(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=match):
        opened.read_model(tmp_path)
