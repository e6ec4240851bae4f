"""Which files hold a model's weights: one set, whole, in a form that is never guessed."""

import json

import pytest
import torch
from safetensors.torch import save_file

from study.sources.weight_files import (
    check_finite,
    read_config,
    stored_tensors,
    stored_types,
    weight_files,
)

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def directory_of(path, *, shards=None, index=None, config=None, files=()):
    """Shards as {file: {tensor: values}}; index as {tensor: file}."""
    for name, tensors in (shards or {"model.safetensors": {"a": torch.zeros(2)}}).items():
        save_file(tensors, path / name)
    if index is not None:
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (path / "config.json").write_text(json.dumps(config or {"model_type": "t5"}))
    for name in files:
        (path / name).write_bytes(b"x")
    return path


def shard(*names):
    return {name: torch.ones(2, dtype=torch.bfloat16) for name in names}


SHARDS = {ONE: shard("a", "b"), TWO: shard("c")}
INDEX = {"a": ONE, "b": ONE, "c": TWO}


def test_one_file_and_shards_are_read_whole(tmp_path):
    (tmp_path / "one").mkdir()
    one = directory_of(
        tmp_path / "one", files=("optimizer.safetensors", "consolidated.safetensors")
    )
    assert [each.name for each in weight_files(one)] == ["model.safetensors"]
    assert stored_types(stored_tensors(one)) == ("float32",)
    (tmp_path / "two").mkdir()
    two = directory_of(tmp_path / "two", shards=SHARDS, index=INDEX)
    assert [each.name for each in weight_files(two)] == [ONE, TWO]
    found = stored_tensors(two)
    assert {name: each.file.name for name, each in found.items()} == INDEX
    assert (found["c"].dtype, found["c"].shape) == ("BF16", (2,))
    assert stored_types(found) == ("bfloat16",)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"shards": {ONE: shard("a", "b")}, "index": INDEX}, f"lacks {TWO}, which .* names"),
        ({"shards": SHARDS}, "lacks model.safetensors; it has model-00001"),
        ({"shards": {**SHARDS, "model.safetensors": shard("a")}, "index": INDEX}, "two sets"),
        ({"shards": {**SHARDS, "model-extra.safetensors": shard("d")}, "index": INDEX},
         "holds model-extra.safetensors beside"),
        ({"shards": {"model.safetensors": shard("a"), "model.fp16.safetensors": shard("a")}},
         "holds model.fp16.safetensors beside model.safetensors"),
        ({"shards": {"model.fp16.safetensors": shard("a")}}, "lacks model.safetensors"),
        ({"files": ("adapter_model.safetensors",)}, "adapter_model.safetensors: an adapter"),
        ({"files": ("adapter_config.json",)}, "an adapter is a change"),
        ({"shards": {"other.safetensors": shard("a")}, "files": ("pytorch_model.bin",)},
         "holds no model.safetensors, but pytorch_model.bin; pickled weights are not read"),
        ({"shards": SHARDS, "index": {**INDEX, "d": TWO}}, "disagree about d"),
        ({"shards": SHARDS, "index": {"a": ONE, "c": TWO}}, "disagree about b"),
        ({"shards": SHARDS, "index": {**INDEX, "b": TWO}}, "disagree about b"),
        ({"shards": {ONE: shard("a"), TWO: shard("a")}, "index": {"a": ONE, "b": TWO}},
         "a lies in .* and in"),
        ({"shards": SHARDS, "index": {"a": "../model.safetensors"}}, "legal: model"),
        ({"shards": SHARDS, "index": {"a": "pytorch_model-00001.bin"}}, "legal: model"),
        ({"shards": SHARDS, "index": {}}, "has no weight_map"),
        ({"shards": {"model.safetensors": {"a": torch.zeros(2, dtype=torch.int8)}}},
         r"a \(I8\) are stored as no weights are; legal: F32"),
        ({"shards": {"model.safetensors": {"q.bias": torch.zeros(2, dtype=torch.uint8)}}},
         r"q.bias \(U8\)"),
        ({"shards": {"model.safetensors": {"a": torch.zeros(2).to(torch.float8_e4m3fn)}}},
         r"a \(F8_E4M3\)"),
        ({"config": {"quantization_config": {"quant_method": "gptq"}}}, "quantised by 'gptq'"),
        ({"config": {"text_config": {"quantization_config": {"quant_method": "fp8"}}}}, "'fp8'"),
        ({"config": {"auto_map": {"AutoModelForCausalLM": "code.Own"}, "model_type": "llama"}},
         "code that the checkpoint brings .*AutoModelForCausalLM"),
        ({"config": {"transformers_weights": "other.safetensors"}}, "names its weights 'other"),
        ({"config": []}, None),
    ],
)  # fmt: skip
def test_what_could_be_meant_otherwise_is_refused_by_name(content, match, tmp_path):
    made = directory_of(tmp_path, **content)
    if match is None:  # an empty config is none
        (tmp_path / "config.json").write_text("[]")
        match = "holds list; legal: an object"
    with pytest.raises(ValueError, match=match):
        read_both(made)


def read_both(directory):
    stored_tensors(directory)
    read_config(directory)


def test_a_damaged_file_and_no_config_are_named(tmp_path):
    made = directory_of(tmp_path)
    content = (made / "model.safetensors").read_bytes()
    (made / "model.safetensors").write_bytes(content[:-3])
    with pytest.raises(ValueError, match=r"model\.safetensors is not a safetensors file"):
        stored_tensors(made)
    (made / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        read_config(made)
    (made / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        read_config(made)


def test_masks_that_were_saved_are_no_weights(tmp_path):
    masks = {
        "h.0.attn.bias": torch.ones(1, 1, 2, 2, dtype=torch.uint8),
        "h.0.attn.masked_bias": torch.tensor(-10000, dtype=torch.int64),
        "position_ids": torch.arange(3)[None],
        "w": torch.zeros(2, dtype=torch.float16),
    }
    found = stored_tensors(directory_of(tmp_path, shards={"model.safetensors": masks}))
    assert set(found) == set(masks)
    assert stored_types(found) == ("float16",)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_overflowed_is_named(value):
    state = {"good": torch.ones(3), "ids": torch.arange(2), "bad": torch.tensor([1.0, value])}
    with pytest.raises(ValueError, match="here: bad hold values that are not finite"):
        check_finite(state, owner="here")
