"""Checkpoints of other projects under the one rule, against their own forward pass."""

import json
import shutil
from dataclasses import replace

import checkpoints
import pytest
import torch
import transformers

from study.language.scores.score import Request, score
from study.language.scores.subjects import (
    directory_digest,
    external_directory,
    open_directory,
    open_external,
)
from study.language.values.conventions import LM_EVAL, STUDY
from study.language.values.stages import External
from study.runs.execution import Execution
from study.runs.source import Source
from study.store.directory import Store

KINDS = ("gpt_neox", "gpt2", "llama", "bart", "t5")
ASKED = [
    Request(context=[5, 6, 7, 8, 9], targets=[[11, 12], [13], [14, 15, 16]]),
    Request(context=[20, 21, 22, 23, 24], targets=[[23], [24, 25]]),
    Request(context=[30, 31], targets=[[7, 8]]),
    Request(context=[5, 6, 7, 8, 9], targets=[[40, 41]]),
    Request(context=[], targets=[[9, 10], [11]]),
    Request(context=[50] * 120, targets=[[9], [10, 11]]),
]


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    root = tmp_path_factory.mktemp("foreign")
    return {kind: checkpoints.foreign(root / kind, kind) for kind in KINDS}


def oracle(model, kind, context, wanted):
    """Log-probability of each wanted token after the context, one forward pass, in float64."""
    with torch.no_grad():
        if kind in ("bart", "t5"):
            start = model.config.decoder_start_token_id
            inputs = torch.tensor([[start, *wanted[:-1]]])
            found = model(input_ids=torch.tensor([context]), decoder_input_ids=inputs).logits[0]
        else:
            whole = torch.tensor([[*context, *wanted[:-1]]])
            found = model(input_ids=whole).logits[0, len(context) - 1 :]
    chances = torch.log_softmax(found.double(), -1)
    return [float(chances[place, token]) for place, token in enumerate(wanted)]


def begun(kind, context, convention):
    """What the model reads first; 0 is a beginning of sequence, 3 an end."""
    prefix = 0 if kind in ("llama", "bart") else 3
    if not context:
        return [prefix]
    return context if convention is LM_EVAL or kind in ("bart", "t5") else [prefix, *context]


@pytest.mark.parametrize("convention", [STUDY, LM_EVAL], ids=["study", "lm_eval"])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_its_own_forward_pass(directories, kind, convention):
    split = kind in ("bart", "t5")
    auto = transformers.AutoModelForSeq2SeqLM if split else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(directories[kind]).double().eval()
    opened = open_directory(directories[kind], batch_tokens=200)
    opened.subject.model.model.double()
    assert opened.subject.max_length == 96
    assert opened.tokenizer.eos == 3
    for sharing in ("shared", "apart"):
        one = replace(opened.subject, contexts=sharing)
        for request, found in zip(ASKED, score(one, ASKED, scoring=convention), strict=True):
            for target, answer in zip(request.targets, found, strict=True):
                room = 96 - len(target) - 1
                if convention is LM_EVAL:
                    room = 96 if split else 97 - len(target)
                context = list(request.context)[-room:]
                assert answer.truncated == len(request.context) - len(context)
                steps = oracle(model, kind, begun(kind, context, convention), target)
                assert answer.valid
                assert answer.target_log_likelihood == pytest.approx(sum(steps), abs=1e-6)
    assert one.work.shared > 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_external_run_opens_by_content(directories, kind):
    directory = directories[kind]
    source = Source(
        uri=f"file://{directory.name}",
        digest=f"sha256:{directory_digest(directory)}",
        text_field="",
        where=(),
        part=None,
    )
    architecture = "encoder_decoder" if kind in ("bart", "t5") else "causal_decoder"
    run = External(slug=kind, source=source, architecture=architecture)
    execution = Execution(data_dirs=(directory.parent,), offline=True)
    opened = open_external(run, execution=execution)
    assert (
        opened.tokenizer.decode(opened.tokenizer.encode("the plot is dull")) == "the plot is dull"
    )
    with pytest.raises(ValueError, match="declares prefix_decoder"):
        open_external(replace(run, architecture="prefix_decoder"), execution=execution)


def test_no_code_and_no_pickle_of_a_checkpoint_is_read(directories, tmp_path):
    directory = tmp_path / "remote"
    shutil.copytree(directories["gpt2"], directory)
    config = json.loads((directory / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "code.Own"}}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ValueError, match=r"config\.json is no model's here"):
        open_directory(directory)
    assert not (tmp_path / "ran").exists()
    (directory / "model.safetensors").unlink()
    torch.save({}, directory / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled weights are not read"):
        open_directory(directory)


def test_a_missing_tensor_is_named(directories, tmp_path):
    from safetensors.torch import load_file, save_file

    directory = tmp_path / "gap"
    shutil.copytree(directories["llama"], directory)
    weights = load_file(directory / "model.safetensors")
    gone = next(name for name in weights if "k_proj" in name)
    del weights[gone]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=gone.replace(".", r"\.")):
        open_directory(directory)


def test_a_tokenizer_without_an_end_of_sequence_is_refused(directories, tmp_path):
    directory = tmp_path / "endless"
    shutil.copytree(directories["gpt_neox"], directory)
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(
        json.dumps({key: value for key, value in settings.items() if key != "eos_token"})
    )
    with pytest.raises(ValueError, match="names no eos_token"):
        open_directory(directory)


def test_a_hub_checkpoint_is_its_commit_without_pickles(directories, tmp_path, monkeypatch):
    import huggingface_hub

    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(directories["gpt2"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    commit = "0123456789abcdef0123456789abcdef01234567"
    source = Source(
        uri="hf://someone/gpt2", digest=f"commit:{commit}", text_field="", where=(), part=None
    )
    run = External(slug="hub", source=source, architecture="causal_decoder")
    execution = Execution(cache=tmp_path)
    assert external_directory(run, execution=execution) == directories["gpt2"]
    assert (asked["name"], asked["revision"]) == ("someone/gpt2", commit)
    assert not any(each.endswith((".bin", ".py", ".pt", "*")) for each in asked["allow_patterns"])
    # Another revision is another run, in another directory: no score of the one answers for it.
    later = replace(run, source=replace(source, digest=f"commit:{commit[::-1]}"))
    store = Store(tmp_path / "runs")
    assert store.directory(run) != store.directory(later)
    assert external_directory(later, execution=execution) == directories["gpt2"]
    assert asked["revision"] == commit[::-1]
    moving = replace(source, digest="commit:main")
    with pytest.raises(ValueError, match="a branch moves"):
        external_directory(replace(run, source=moving), execution=execution)
