"""`forward` and `generate()` in Hugging Face's manner agree with the layout that training uses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from study.language.huggingface.auto import pretrained
from study.language.layout import Segment, layout
from study.language.model.build import build
from study.language.values.model import Model

TINY = Model(
    architecture="causal_decoder",
    mixer="attention",
    positions="rope",
    layers=2,
    d_model=32,
    heads=4,
    d_head=8,
    d_ff=48,
    vocab_size=64,
    tied=True,
)
MODELS = [
    replace(TINY, architecture=architecture, positions=positions)
    for architecture in ("causal_decoder", "prefix_decoder", "encoder_decoder")
    for positions in ("rope", "t5_bias", "t5_bias_paper")
]
every_model = pytest.mark.parametrize(
    "model", MODELS, ids=lambda model: f"{model.architecture}-{model.positions}"
)
every_decoder = pytest.mark.parametrize(
    "model", MODELS[:6], ids=lambda model: f"{model.architecture}-{model.positions}"
)


def lively(model: Model):
    """A model whose greedy answers are not all alike."""
    built = pretrained(build(model, dropout=0.0, seed=0).eval())
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return built


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(2, TINY.vocab_size, shape, generator=torch.Generator().manual_seed(4))


def greedy(built, prompt: list[int], *, steps: int) -> list[int]:
    """Greedy decoding through the layout, one whole forward pass a token."""
    answer: list[int] = []
    for _ in range(steps):
        example = Segment(
            inputs=np.array(prompt, dtype=np.int32), targets=np.array([*answer, 2], dtype=np.int32)
        )
        batch = layout([(example,)], architecture=built.config.architecture)
        logits = built.logits(built.hidden(batch)[batch.loss_mask])
        answer.append(int(logits[-1].argmax()))
    return answer


@every_model
@pytest.mark.parametrize("use_cache", [True, False])
@torch.no_grad()
def test_generate_is_greedy_decoding_through_the_layout(model: Model, use_cache: bool):
    built = lively(model)
    prompts = [tokens(7).tolist(), tokens(12)[5:].tolist()]
    wanted = [greedy(built, prompt, steps=8) for prompt in prompts]
    found = built.generate(
        torch.tensor(prompts),
        max_new_tokens=8,
        do_sample=False,
        use_cache=use_cache,
        eos_token_id=None,
    )
    assert found[:, -8:].tolist() == wanted
    assert len({token for answer in wanted for token in answer}) > 3


@every_decoder
@pytest.mark.parametrize("use_cache", [True, False])
def test_left_padding_changes_nothing(model: Model, use_cache: bool):
    built = lively(model)
    short, long = tokens(4), tokens(9)
    padded = torch.stack([torch.cat([torch.full((5,), 17), short]), long])
    mask = torch.ones_like(padded)
    mask[0, :5] = 0
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    together = built.generate(padded, attention_mask=mask, use_cache=use_cache, **options)
    for row, prompt in ((0, short), (1, long)):
        alone = built.generate(prompt[None], use_cache=use_cache, **options)
        assert together[row, -6:].tolist() == alone[0, -6:].tolist()


@torch.no_grad()
def test_sources_may_be_padded_on_either_side():
    built = lively(MODELS[-1])
    source = tokens(1, 6)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    wanted = built.generate(source, **options)
    for pad in ((0, 3), (3, 0), (2, 1)):
        padded = torch.nn.functional.pad(source, pad, value=17)
        mask = torch.nn.functional.pad(torch.ones_like(source), pad)
        assert torch.equal(built.generate(padded, attention_mask=mask, **options), wanted)


@every_model
def test_beams_run_through_the_cache(model: Model):
    built = lively(model)
    options = {"max_new_tokens": 5, "do_sample": False, "num_beams": 3, "eos_token_id": None}
    cached = built.generate(tokens(2, 6), use_cache=True, **options)
    assert torch.equal(cached, built.generate(tokens(2, 6), use_cache=False, **options))


def test_padding_elsewhere_is_refused():
    decoder, pair = lively(MODELS[0]), lively(MODELS[-1])
    right = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with pytest.raises(ValueError, match=r"row 1 .* padding on the left only"):
        decoder(tokens(2, 4), attention_mask=right)
    with pytest.raises(ValueError, match="padding on the left only"):
        pair(tokens(2, 4), decoder_input_ids=tokens(2, 4), decoder_attention_mask=right)
    with pytest.raises(ValueError, match="holes"):
        pair(tokens(1, 3), attention_mask=torch.tensor([[1, 0, 1]]), labels=tokens(1, 2))
    with pytest.raises(ValueError, match=r"legal: \(2, 4\)"):
        decoder(tokens(2, 4), attention_mask=right[:, :2])


@every_decoder
@torch.no_grad()
def test_the_loss_is_the_trainers(model: Model):
    """Labels are aligned with the inputs, and the unlabelled head of a row is its prefix."""
    built = lively(model)
    ids = tokens(2, 10)
    labels = ids.clone()
    labels[:, :4] = -100
    rows = [(Segment(inputs=row[:4].int().numpy(), targets=row[4:].int().numpy()),) for row in ids]
    batch = layout(rows, architecture=model.architecture)
    logits = built.logits(built.hidden(batch)[batch.loss_mask])
    wanted = torch.nn.functional.cross_entropy(logits, batch.labels[batch.loss_mask])
    found = built(ids, labels=labels)
    torch.testing.assert_close(found.loss, wanted)
    assert found.logits.shape == (2, 10, model.vocab_size)
    shifted = found.logits[:, 3:-1].reshape(-1, model.vocab_size)
    torch.testing.assert_close(shifted, logits)


def test_a_prefix_decoder_needs_to_know_its_prefix():
    built = lively(MODELS[3])
    ids = tokens(2, 6)
    ragged = ids.clone()
    ragged[0, :2] = -100
    with pytest.raises(ValueError, match="prefix_length"):
        built(ids, labels=ragged)
    with pytest.raises(ValueError, match="legal: 0 to 6"):
        built(ids, prefix_length=7)
    causal = lively(MODELS[0])(ids).logits
    assert torch.equal(built(ids, prefix_length=0).logits, causal)
    assert not torch.equal(built(ids).logits, causal)


def test_forward_needs_something_to_read():
    pair = lively(MODELS[-1])
    with pytest.raises(ValueError, match="decoder_input_ids"):
        pair(tokens(1, 3))
    with pytest.raises(ValueError, match="encoder_outputs"):
        pair(labels=tokens(1, 3))
