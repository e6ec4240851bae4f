"""Models: shapes, seeds, the identity of causal and prefix decoders, isolation, files."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
)

from kernels.attention import attention
from study.language.huggingface.auto import pretrained
from study.language.huggingface.opened import write_model
from study.language.layout import Segment, layout
from study.language.model.build import build, empty
from study.language.model.isolation import check_isolation
from study.language.values.model import Architecture, Model, Positions

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
ARCHITECTURES: tuple[Architecture, ...] = ("causal_decoder", "prefix_decoder", "encoder_decoder")
POSITIONS: tuple[Positions, ...] = ("rope", "t5_bias", "t5_bias_paper")

every_model = pytest.mark.parametrize(
    "model",
    [
        replace(TINY, architecture=architecture, positions=positions)
        for architecture in ARCHITECTURES
        for positions in POSITIONS
    ],
    ids=lambda model: f"{model.architecture}-{model.positions}",
)


def segment(inputs: int, targets: int, seed: int = 0) -> Segment:
    rng = np.random.default_rng((seed, inputs, targets))
    return Segment(
        inputs=rng.integers(2, TINY.vocab_size, inputs).astype(np.int32),
        targets=rng.integers(2, TINY.vocab_size, targets).astype(np.int32),
    )


ROWS = [(segment(5, 7), segment(0, 4)), (segment(11, 3),), (segment(2, 2), segment(6, 6))]


def scramble(model: torch.nn.Module) -> None:
    """Random values everywhere, so that no zero or one hides a mistake."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


@every_model
def test_batch_to_logits_to_gradients(model: Model):
    built = build(model, dropout=0.0, seed=0)
    batch = layout(ROWS, architecture=model.architecture)
    hidden = built.hidden(batch)
    assert hidden.shape == (*batch.tokens.shape, model.d_model)
    logits = built.logits(hidden[batch.loss_mask])
    assert logits.shape == (batch.loss_tokens, model.vocab_size)
    assert 0.5 < float(logits.detach().std()) < 2.0
    logits.square().sum().backward()
    # A causal decoder never reads its half-table for later keys: the gradient is there, and zero.
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        moves = bool(parameter.grad.any())
        never = model.architecture == "causal_decoder" and name.endswith("positions.later")
        assert moves != never, name


@every_model
def test_scores_of_a_row_do_not_depend_on_its_company(model: Model):
    """Packing is an arrangement: a segment scores the same alone, whatever lies beside it."""
    built = build(model, dropout=0.0, seed=0).eval()
    scramble(built)
    packed = layout(ROWS, architecture=model.architecture)
    with torch.no_grad():
        together = built.logits(built.hidden(packed))
        for row, segments in enumerate(ROWS):
            for number, each in enumerate(segments):
                alone = layout([(each,)], architecture=model.architecture)
                wanted = built.logits(built.hidden(alone))[0]
                found = together[row][packed.segments[row] == number + 1]
                torch.testing.assert_close(found, wanted, rtol=2e-4, atol=2e-4)


@every_model
def test_isolation(model: Model):
    built = build(model, dropout=0.0, seed=1)
    scramble(built)
    checked = check_isolation(
        built, architecture=model.architecture, vocab_size=model.vocab_size, precision="float32"
    )
    assert checked.perturbations > 20


@pytest.mark.parametrize("positions", POSITIONS)
def test_an_empty_prefix_is_causal_bit_for_bit(positions: Positions):
    rows = [(segment(0, 17),), (segment(0, 9), segment(0, 8))]
    results = []
    for architecture in ("causal_decoder", "prefix_decoder"):
        model = replace(TINY, architecture=architecture, positions=positions)
        built = build(model, dropout=0.0, seed=3)
        if positions == "t5_bias":
            with torch.no_grad():  # the half-table for later keys must not matter
                built.decoder.positions.later.fill_(3.0)
        logits = built.logits(built.hidden(layout(rows, architecture=architecture)))
        logits.square().sum().backward()
        results.append([logits, *(parameter.grad for parameter in built.parameters())])
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def plain_rope_decoder(state: dict, tokens: torch.Tensor, model: Model) -> torch.Tensor:
    """The causal decoder under rope, written down once more, in float64 and without the project's
    parts.
    """

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"{name}.weight"]

    def turn(x: torch.Tensor) -> torch.Tensor:  # (T, D): pair (d, d + D / 2) by t * 10000^(-2d/D)
        half = x.shape[-1] // 2
        rates = 10000.0 ** (-2 * torch.arange(half, dtype=torch.float64) / x.shape[-1])
        angles = torch.arange(len(x), dtype=torch.float64)[:, None] * rates
        spun = torch.complex(x[:, :half], x[:, half:]) * torch.polar(
            torch.ones_like(angles), angles
        )
        return torch.cat((spun.real, spun.imag), -1)

    x = state["embedding.weight"][tokens]
    for index in range(model.layers):
        at = f"decoder.layers.{index}"
        normed = norm(x, f"{at}.attention_norm")
        parts = [normed @ state[f"{at}.attention.{n}.weight"].T for n in ("query", "key", "value")]
        heads = []
        for query, key, value in zip(
            *(each.split(model.d_head, -1) for each in parts), strict=True
        ):
            scores = turn(query) @ turn(key).T / model.d_head**0.5
            hidden = torch.ones_like(scores).triu(1).bool()
            heads.append(scores.masked_fill(hidden, -math.inf).softmax(-1) @ value)
        x = x + torch.cat(heads, -1) @ state[f"{at}.attention.output.weight"].T
        normed = norm(x, f"{at}.mlp_norm")
        gate, up = (normed @ state[f"{at}.mlp.{n}.weight"].T for n in ("gate", "up"))
        gate = 0.5 * gate * (1 + (math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)).tanh())
        x = x + (gate * up) @ state[f"{at}.mlp.down.weight"].T
    return norm(x, "decoder.norm") / model.d_model**0.5 @ state["embedding.weight"].T


def test_the_rope_decoder_is_what_it_says():
    built = build(TINY, dropout=0.0, seed=0).eval().double()
    scramble(built)
    batch = layout([(segment(0, 40),)], architecture="causal_decoder")
    with torch.no_grad():
        found = built.logits(built.hidden(batch))[0]
        wanted = plain_rope_decoder(built.state_dict(), batch.tokens[0], TINY)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "positions"),
    [
        ("causal_decoder", "t5_bias_paper"),
        ("prefix_decoder", "rope"),
        ("encoder_decoder", "t5_bias"),
    ],
)
def test_the_layers_compile_to_one_graph(architecture: Architecture, positions: Positions):
    """Routes are found outside: what torch.compile sees of a forward pass is one graph."""
    model = replace(TINY, architecture=architecture, positions=positions)
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(sum(node.op == "call_function" for node in graph.graph.nodes))
        return graph.forward

    built = build(model, dropout=0.0, seed=0)
    batch = layout(ROWS, architecture=model.architecture)
    torch._dynamo.reset()
    with torch.no_grad():
        found = torch.compile(built.hidden, backend=backend)(batch)
        torch.testing.assert_close(found, built.hidden(batch))
    assert len([calls for calls in graphs if calls > 30]) == 1


def test_a_prefix_is_seen_from_the_left():
    """The same tensors and tokens score differently where a prefix is not empty."""
    rows = [(segment(8, 8),)]
    logits = []
    for architecture in ("causal_decoder", "prefix_decoder"):
        built = build(replace(TINY, architecture=architecture), dropout=0.0, seed=3)
        logits.append(built.logits(built.hidden(layout(rows, architecture=architecture)))[0])
    assert not torch.equal(logits[0][0], logits[1][0])


def test_seeds_decide_the_values_and_leave_the_global_generator_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = build(TINY, dropout=0.0, seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    same = build(TINY, dropout=0.1, seed=1).state_dict()
    other = build(TINY, dropout=0.0, seed=2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["embedding.weight"], other["embedding.weight"])
    pair = build(replace(TINY, architecture="encoder_decoder"), dropout=0.0, seed=1).state_dict()
    assert all(torch.equal(one[name], pair[name]) for name in one)


def test_first_values_are_t5s():
    model = replace(TINY, d_model=128, d_head=16, d_ff=256, positions="t5_bias", tied=False)
    state = build(model, dropout=0.0, seed=0).state_dict()
    wanted = {
        "embedding.weight": 1.0,
        "head.weight": 128**-0.5,
        "decoder.layers.0.attention.query.weight": (128 * 16) ** -0.5,
        "decoder.layers.0.attention.key.weight": 128**-0.5,
        "decoder.layers.0.attention.output.weight": (4 * 16) ** -0.5,
        "decoder.layers.0.mlp.up.weight": 128**-0.5,
        "decoder.layers.0.mlp.down.weight": 256**-0.5,
        "decoder.positions.table": 128**-0.5,
    }
    for name, deviation in wanted.items():
        assert math.isclose(float(state[name].std()), deviation, rel_tol=0.15), name
    assert not state["decoder.positions.later"].any()
    assert (state["decoder.layers.1.mlp_norm.weight"] == 1).all()
    rope = build(replace(model, positions="rope"), dropout=0.0, seed=0).state_dict()
    query = rope["decoder.layers.0.attention.query.weight"]
    assert math.isclose(float(query.std()), 128**-0.5, rel_tol=0.15)


def test_dropout_is_drawn_in_training_only():
    batch = layout(ROWS, architecture="causal_decoder")
    built = build(TINY, dropout=0.5, seed=0)
    torch.manual_seed(0)
    one, two = built.hidden(batch), built.hidden(batch)
    torch.manual_seed(0)
    again = built.hidden(batch)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    built.eval()
    assert torch.equal(built.hidden(batch), built.hidden(batch))
    plain = build(TINY, dropout=0.0, seed=0)
    assert torch.equal(plain.hidden(batch), built.hidden(batch))


def test_attention_dropout_takes_whole_keys(monkeypatch):
    """T5 drops an attention weight for all queries of a head at once: the value itself."""
    seen = []

    def spy(query, key, value, visibility, *, bias, scale):
        seen.append(value)
        return attention(query, key, value, visibility, bias=bias, scale=scale)

    monkeypatch.setattr("study.nn.attention.attention", spy)
    built = build(TINY, dropout=0.5, seed=0)
    built.hidden(layout([(segment(0, 60),)] * 4, architecture="causal_decoder"))
    dropped = (seen[0] == 0).all(-1)
    assert 0.35 < float(dropped.float().mean()) < 0.65
    assert bool((seen[0][~dropped] != 0).all())


def test_scoring_first_does_not_spoil_training():
    """What is kept between calls must not be a tensor of inference mode."""
    model = replace(TINY, positions="t5_bias")
    built = build(model, dropout=0.0, seed=0)
    row = [(segment(0, 53),)]
    with torch.inference_mode():
        built.hidden(layout(row, architecture="causal_decoder"))
    built.hidden(layout(row, architecture="causal_decoder")).sum().backward()
    assert built.decoder.positions.table.grad.any()


def test_autocast_stays_near_float32():
    for positions in POSITIONS:
        model = replace(TINY, positions=positions, architecture="prefix_decoder")
        built = build(model, dropout=0.0, seed=0).eval()
        batch = layout(ROWS, architecture=model.architecture)
        with torch.no_grad():
            wanted = built.logits(built.hidden(batch))[batch.loss_mask]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = built.logits(built.hidden(batch))[batch.loss_mask]
        assert float((found.float() - wanted).abs().max()) < 0.15 * float(wanted.std())


@every_model
@pytest.mark.parametrize("tied", [True, False])
def test_save_and_load_is_bitwise(model: Model, tied: bool, tmp_path):
    model = replace(model, tied=tied)
    built = build(model, dropout=0.1, seed=0).eval()
    scramble(built)
    saved = pretrained(built)
    saved.save_pretrained(tmp_path)
    family = AutoModelForCausalLM
    if model.architecture == "encoder_decoder":
        family = AutoModelForSeq2SeqLM
    loaded = family.from_pretrained(tmp_path)
    assert type(loaded) is type(saved)
    assert loaded.config.model == loaded.shape == model
    assert loaded.config.dropout == 0.1
    state, wanted = loaded.state_dict(), built.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    batch = layout(ROWS, architecture=model.architecture)
    assert torch.equal(loaded.hidden(batch), built.hidden(batch))


def test_a_pickle_is_refused(tmp_path):
    built = pretrained(build(TINY, dropout=0.0, seed=0))
    built.config.save_pretrained(tmp_path)
    torch.save(built.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin, a pickle"):
        type(built).from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin, a pickle"):
        AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="use_safetensors"):
        type(built).from_pretrained(tmp_path, use_safetensors=False)


def test_a_checkpoint_with_gaps_is_refused(tmp_path):
    built = pretrained(build(TINY, dropout=0.0, seed=0))
    state = built.state_dict()
    missing = {name: each for name, each in state.items() if "layers.1.mlp.up" not in name}
    built.save_pretrained(tmp_path / "missing", state_dict=missing)
    with pytest.raises(ValueError, match=r"decoder\.layers\.1\.mlp\.up\.weight"):
        type(built).from_pretrained(tmp_path / "missing")
    surplus = {**state, "decoder.layers.9.mlp.up.weight": torch.zeros(3)}
    built.save_pretrained(tmp_path / "surplus", state_dict=surplus)
    with pytest.raises(ValueError, match=r"decoder\.layers\.9\.mlp\.up\.weight"):
        type(built).from_pretrained(tmp_path / "surplus")


def test_the_wrong_class_for_a_shape_is_refused():
    decoder = empty(TINY, dropout=0.0)
    pair = empty(replace(TINY, architecture="encoder_decoder"), dropout=0.0)
    with pytest.raises(ValueError, match="encoder_decoder"):
        type(decoder)(pair.shape, dropout=0.0)
    with pytest.raises(ValueError, match="causal_decoder"):
        type(pair)(decoder.shape, dropout=0.0)
    with pytest.raises(ValueError, match="encoder_decoder"):
        type(pretrained(decoder))(pretrained(pair).config)
    with pytest.raises(ValueError, match="causal_decoder"):
        type(pretrained(pair))(pretrained(decoder).config)
    with pytest.raises(ValueError, match="no source"):
        build(pair.shape, dropout=0.0, seed=0).hidden(layout(ROWS, architecture="causal_decoder"))


@every_model
def test_a_checkpoints_configuration_is_the_one_transformers_would_write(model: Model, tmp_path):
    built = build(replace(model, tied=False), dropout=0.1, seed=0).eval()
    pretrained(built).save_pretrained(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    write_model(tmp_path / "ours", model=built)
    unsaid = {"output_attentions", "output_hidden_states"}  # False there, None here: both are no
    for kind in (AutoConfig, GenerationConfig):
        ours, theirs = (
            kind.from_pretrained(tmp_path / side).to_dict() for side in ("ours", "theirs")
        )
        differing = {key for key in ours | theirs if ours.get(key) != theirs.get(key)}
        assert differing <= unsaid | {"_name_or_path", "transformers_version"}


def test_a_dressed_model_is_the_same_tensors():
    built = build(TINY, dropout=0.0, seed=0)
    dressed = pretrained(built)
    assert dressed.training
    assert not pretrained(built.eval()).training
    own = dict(built.named_parameters())
    assert all(each is own[name] for name, each in dressed.named_parameters())


def test_training_needs_nothing_of_transformers(tmp_path):
    """Its import takes longer than torch's; each process of a sweep on a cluster would pay it."""
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[3] / "made")]!r}
from pathlib import Path
import tiny_runs
from study.store.directory import Store
from study.train.work import execute

store = Store(Path({str(tmp_path)!r}))
for run in (tiny_runs.TEXT, tiny_runs.pretrain(2)):
    execute(run, store=store, execution=tiny_runs.execution())
heavy = {{"transformers", "accelerate", "deepspeed", "lm_eval", "scipy", "wandb"}}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr
