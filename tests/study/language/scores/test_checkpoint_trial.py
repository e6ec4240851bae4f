"""What a checkpoint from elsewhere is tried on before it is scored, on tiny random ones."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from study.language.scores import foreign

SMALL = {
    "vocab_size": 61, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 1,
}  # fmt: skip
GPT = {"vocab_size": 61, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
T5 = {
    "vocab_size": 61, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2,
    "decoder_start_token_id": 0,
}  # fmt: skip


def saved(directory, config, **model):
    """A random checkpoint; model: what transformers' Auto class is told."""
    torch.manual_seed(0)
    split = config.is_encoder_decoder
    auto = transformers.AutoModelForSeq2SeqLM if split else transformers.AutoModelForCausalLM
    made = auto.from_config(config, **model)
    made.save_pretrained(directory)
    return made


def llama(directory, **fields):
    config = transformers.LlamaConfig(**(SMALL | {"num_key_value_heads": 2} | fields))
    return saved(directory, config)


def gpt2(directory, **fields):
    return saved(directory, transformers.GPT2Config(**GPT, **fields))


def opened(directory, architecture="causal_decoder"):
    return foreign.load_model(directory, architecture=architecture, device="cpu")


def change(directory, **tensors):
    """Write tensors (None takes one out) into the checkpoint; names with `__` for dots."""
    path = directory / "model.safetensors"
    state = load_file(path) | {name.replace("__", "."): each for name, each in tensors.items()}
    kept = {name: each.contiguous() for name, each in state.items() if each is not None}
    save_file(kept, path, metadata={"format": "pt"})


def configure(directory, **fields):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def triangle(size):
    return torch.ones(size, size).tril()[None, None].to(torch.uint8)


def test_surplus_tensors_are_refused_by_name(tmp_path):
    """A model with biases whose config.json asks for none."""
    llama(tmp_path, attention_bias=True)
    opened(tmp_path)
    configure(tmp_path, attention_bias=False)
    with pytest.raises(ValueError, match=r"surplus: model\.layers\.0\.self_attn\.k_proj\.bias, "):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"model__norm__weight": None}, r"missing: model\.norm\.weight"),
        ({"model__norm__weight": torch.ones(15)},
         r"of another shape: model\.norm\.weight \(15,\), legal \(16,\)"),
        ({"model__layers__2__input_layernorm__weight": torch.ones(16)},
         r"surplus: model\.layers\.2\.input_layernorm"),
        ({"v_head__weight": torch.ones(1, 16)}, r"surplus: v_head\.weight"),
        ({"lm_head__weight": None}, r"missing: lm_head\.weight"),
        ({"norm__weight": torch.ones(16)}, "unlike its twin: norm.weight and model.norm.weight"),
        ({"model__norm__weight": torch.full((16,), torch.inf)},
         r"model\.norm\.weight hold values that are not finite"),
    ],
)  # fmt: skip
def test_every_tensor_is_accounted_for(tensors, match, tmp_path):
    llama(tmp_path)
    change(tmp_path, **tensors)
    with pytest.raises(ValueError, match=match):
        opened(tmp_path)


def test_twins_that_differ_are_refused(tmp_path):
    llama(tmp_path, tie_word_embeddings=True)
    embedding = load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]
    change(tmp_path, lm_head__weight=embedding.clone())
    opened(tmp_path)
    change(tmp_path, lm_head__weight=embedding + 0.01)
    with pytest.raises(ValueError, match=r"twin: lm_head\.weight and model\.embed_tokens\.weight"):
        opened(tmp_path)
    configure(tmp_path, tie_word_embeddings=False)
    opened(tmp_path)


def test_t5s_copies_and_its_own_head_are_told_apart(tmp_path):
    saved(tmp_path, transformers.T5Config(**T5))
    shared = load_file(tmp_path / "model.safetensors")["shared.weight"]
    cross = "decoder__block__0__layer__1__EncDecAttention__relative_attention_bias__weight"
    change(tmp_path, **{"encoder__embed_tokens__weight": shared.clone(), cross: torch.ones(32, 2)})
    _, left = opened(tmp_path, "encoder_decoder")
    assert left == (cross.replace("__", "."),)
    change(tmp_path, lm_head__weight=shared + 1)
    with pytest.raises(ValueError, match=r"lm_head\.weight and shared\.weight"):
        opened(tmp_path, "encoder_decoder")
    configure(tmp_path, tie_word_embeddings=False, scale_decoder_outputs=False)
    opened(tmp_path, "encoder_decoder")
    change(tmp_path, encoder__embed_tokens__weight=shared + 1)
    with pytest.raises(ValueError, match=r"encoder\.embed_tokens\.weight and shared\.weight"):
        opened(tmp_path, "encoder_decoder")


def test_buffers_of_older_versions_are_known_by_their_values(tmp_path):
    gpt2(tmp_path)
    name = "transformer__h__0__attn__"
    change(tmp_path, **{f"{name}bias": triangle(32), f"{name}masked_bias": torch.tensor(-1e4)})
    _, left = opened(tmp_path)
    assert left == ("transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias")
    for odd in (torch.ones(16), triangle(32).transpose(2, 3), torch.ones(1, 1, 32, 32)):
        change(tmp_path, **{f"{name}bias": odd})
        with pytest.raises(ValueError, match=r"surplus: transformer\.h\.0\.attn\.bias"):
            opened(tmp_path)


def test_rotary_frequencies_have_to_be_those_of_the_config(tmp_path):
    model = llama(tmp_path)
    name = "model__layers__0__self_attn__rotary_emb__inv_freq"
    frequencies = model.model.rotary_emb.inv_freq
    for value in (frequencies.clone(), frequencies.half()):
        change(tmp_path, **{name: value})
        assert opened(tmp_path)[1] == (name.replace("__", "."),)
    configure(tmp_path, rope_parameters={"rope_type": "default", "rope_theta": 500000.0})
    with pytest.raises(ValueError, match=r"surplus: .*inv_freq"):
        opened(tmp_path)


def test_names_without_their_prefix_are_the_same_tensors(tmp_path):
    gpt2(tmp_path)
    path = tmp_path / "model.safetensors"
    before = opened(tmp_path)[0].model.state_dict()
    bare = {name.removeprefix("transformer."): each for name, each in load_file(path).items()}
    save_file(bare, path, metadata={"format": "pt"})
    after = opened(tmp_path)[0].model.state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "XLM", "XLNet", "Electra"])
def test_an_encoder_is_no_causal_decoder(kind, tmp_path):
    """transformers has a causal class for each of them, and gives it both sides."""
    fields = {
        "XLM": {"vocab_size": 61, "emb_dim": 16, "n_layers": 2, "n_heads": 2},
        "XLNet": {"vocab_size": 61, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24},
    }.get(kind, SMALL)
    saved(tmp_path, getattr(transformers, f"{kind}Config")(**fields))
    with pytest.raises(ValueError, match=r"must not see it, by .* it is no causal decoder"):
        opened(tmp_path)
    if kind == "Bert":
        configure(tmp_path, is_decoder=True)
        opened(tmp_path)


class Leak(torch.nn.Module):
    """A decoder layer that adds what comes `later` tokens later, a little."""

    def __init__(self, layer, share, later=1):
        super().__init__()
        self.layer, self.share, self.later = layer, share, later

    def forward(self, states, *rest, **named):
        found = self.layer(states, *rest, **named)
        own = found[0] if isinstance(found, tuple) else found
        mixed = own + self.share * own.roll(-self.later, 1)
        return (mixed, *found[1:]) if isinstance(found, tuple) else mixed


@pytest.mark.parametrize("architecture", ["causal_decoder", "encoder_decoder"])
def test_a_leak_of_a_thousandth_is_seen(architecture, tmp_path):
    from study.language.scores import checkpoint_trial

    if architecture == "encoder_decoder":
        made = saved(tmp_path, transformers.T5Config(**T5)).eval()
        layers, probe = made.decoder.block, checkpoint_trial.probe_seq2seq
    else:
        made = gpt2(tmp_path).eval()
        layers, probe = made.transformer.h, checkpoint_trial.probe_causal
    with torch.no_grad():
        probe(made)
        layers[1] = Leak(layers[1], 1e-3)
        with pytest.raises(ValueError, match="must not see it"):
            probe(made)


class Deaf(torch.nn.Module):
    """A sequence-to-sequence model that reads its source through another than it is given."""

    def __init__(self, model, change):
        super().__init__()
        self.model, self.change, self.config = model, change, model.config
        self.device = model.device
        self.get_input_embeddings = model.get_input_embeddings

    def forward(self, **named):
        return self.model(**self.change(named))


@pytest.mark.parametrize(
    ("change_of", "match"),
    [
        (lambda each: each | {"input_ids": torch.ones_like(each["input_ids"])}, "it reads none"),
        (lambda each: each | {"attention_mask": None}, "padding of its source"),
    ],
)
def test_a_source_is_read_and_its_padding_is_not(change_of, match, tmp_path):
    from study.language.scores import checkpoint_trial

    made = saved(tmp_path, transformers.T5Config(**T5)).eval()
    with torch.no_grad(), pytest.raises(ValueError, match=match):
        checkpoint_trial.probe_seq2seq(Deaf(made, change_of))


def test_a_decoder_without_a_start_is_refused(tmp_path):
    saved(tmp_path, transformers.T5Config(**T5))
    configure(tmp_path, decoder_start_token_id=None)
    with pytest.raises(ValueError, match="decoder_start_token_id is None"):
        opened(tmp_path, "encoder_decoder")


@pytest.mark.parametrize("error", [ImportError("pip install it"), AssertionError(), TypeError("x")])
def test_whatever_transformers_raises_names_the_checkpoint(error, tmp_path, monkeypatch):
    llama(tmp_path)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be opened .*{type(error).__name__}"):
        opened(tmp_path)


def test_sixteen_bits_are_opened_in_float32(tmp_path):
    llama(tmp_path).to(torch.bfloat16).save_pretrained(tmp_path)
    model = opened(tmp_path)[0].model
    assert {each.dtype for each in model.parameters()} == {torch.float32}
    assert load_file(tmp_path / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16
