import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from study.runs.training import Adafactor, AdamW, Muon
from study.train.optimizers import Optimizer, role

ADAMW = AdamW(learning_rate=0.01, beta1=0.9, beta2=0.98, epsilon=1e-8, weight_decay=0.5)
ADAFACTOR = Adafactor(learning_rate=0.01, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.0)
MUON = Muon(learning_rate=0.02, momentum=0.95, weight_decay=0.1, adamw=ADAMW)


class Small(nn.Module):
    """One parameter of every role, named as the study's models name them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.positions = nn.Embedding(3, 2)
        self.norm = nn.RMSNorm(4)
        self.up = nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 7, bias=False)

    def loss(self) -> torch.Tensor:
        states = self.up(self.norm(self.embedding.weight))
        return self.head(states).logsumexp(-1).sum() + self.positions.weight.square().sum()


def _model() -> Small:
    torch.manual_seed(0)
    return Small()


def _steps(model: Small, optimizer: Optimizer, number: int) -> None:
    for _ in range(number):
        model.loss().backward()
        optimizer.step(1.0)
        optimizer.zero_grad()


@pytest.mark.parametrize("recipe", [ADAMW, MUON], ids=["adamw", "muon"])
def test_only_matrices_between_the_embeddings_decay(recipe):
    model = _model()
    optimizer = Optimizer(model, recipe=recipe)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(1.0)
    moved = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert moved == {"up.weight", "head.weight"}


def test_muon_takes_hidden_matrices_and_nothing_else():
    model = _model()
    optimizer = Optimizer(model, recipe=MUON)
    _steps(model, optimizer, 1)
    momentum = {name for name in optimizer.tensors() if name.startswith("momentum_buffer/")}
    assert momentum == {"momentum_buffer/up.weight"}


@pytest.mark.parametrize("recipe", [ADAMW, ADAFACTOR, MUON], ids=["adamw", "adafactor", "muon"])
def test_state_goes_on_bit_for_bit(recipe, tmp_path):
    from study.train.checkpoint import read_tensors, write_tensors

    straight = _model()
    one = Optimizer(straight, recipe=recipe)
    _steps(straight, one, 3)
    weights = {name: value.detach().clone() for name, value in straight.state_dict().items()}
    write_tensors(tmp_path / "state.safetensors", tensors=one.tensors())
    _steps(straight, one, 4)

    resumed = _model()
    resumed.load_state_dict(weights)
    other = Optimizer(resumed, recipe=recipe)
    given = read_tensors(tmp_path / "state.safetensors")
    before = {name: value.clone() for name, value in given.items()}
    other.load(given)
    _steps(resumed, other, 4)
    assert all(value.equal(before[name]) for name, value in given.items()), "it works on a copy"
    for name, value in straight.state_dict().items():
        assert value.equal(resumed.state_dict()[name]), name


def test_a_parameter_without_gradients_resumes_too():
    model = _model()
    optimizer = Optimizer(model, recipe=ADAMW)
    model.up(torch.ones(4)).sum().backward()
    optimizer.step(1.0)
    assert "none/positions.weight" in optimizer.tensors()
    fresh = Optimizer(_model(), recipe=ADAMW)
    fresh.load(optimizer.tensors())
    assert fresh.tensors().keys() == optimizer.tensors().keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("exp_avg/norm.weight"), "optimiser state of 'norm.weight'"),
        (
            lambda state: [state.pop(n) for n in list(state) if n.endswith("/norm.weight")],
            "no optimiser state for parameter 'norm.weight'",
        ),
        (lambda state: state.update({"exp_avg/other": torch.zeros(1)}), "that the model lacks"),
        (lambda state: state.update({"exp_avg/norm.weight": torch.zeros(9)}), "'norm.weight'"),
    ],
    ids=["missing key", "missing parameter", "unknown parameter", "shape"],
)
def test_a_state_that_does_not_fit_is_refused(change, message):
    model = _model()
    optimizer = Optimizer(model, recipe=ADAMW)
    _steps(model, optimizer, 1)
    state = optimizer.tensors()
    change(state)
    with pytest.raises(ValueError, match=message):
        Optimizer(_model(), recipe=ADAMW).load(state)


def test_another_optimisers_state_is_refused():
    model = _model()
    optimizer = Optimizer(model, recipe=ADAFACTOR)
    _steps(model, optimizer, 1)
    with pytest.raises(ValueError, match="AdamW needs"):
        Optimizer(_model(), recipe=ADAMW).load(optimizer.tensors())


OWN = AdamW(learning_rate=0.011, beta1=0.7, beta2=0.8, epsilon=0.13, weight_decay=0.17)
GIVEN = {
    "adamw": OWN,
    "adafactor": Adafactor(
        learning_rate=0.012, decay_rate=0.6, clip_threshold=1.25, weight_decay=0.19
    ),
    "muon": Muon(learning_rate=0.023, momentum=0.65, weight_decay=0.31, adamw=OWN),
}
"""Of no field torch's own default, and no two alike."""


@pytest.mark.parametrize("recipe", GIVEN.values(), ids=GIVEN)
def test_every_field_of_the_recipe_reaches_the_optimiser(recipe):
    """By torch's names of them, in the groups of both parts."""
    named = {
        "AdamW": lambda own: {
            "lr": own.learning_rate,
            "betas": (own.beta1, own.beta2),
            "eps": own.epsilon,
            "weight_decay": own.weight_decay,
        },
        "Adafactor": lambda own: {
            "lr": own.learning_rate,
            "beta2_decay": -own.decay_rate,
            "d": own.clip_threshold,
            "weight_decay": own.weight_decay,
        },
        "Muon": lambda own: {
            "lr": own.learning_rate,
            "momentum": own.momentum,
            "weight_decay": own.weight_decay,
        },
    }
    recipes = [recipe, recipe.adamw] if isinstance(recipe, Muon) else [recipe]
    parts = Optimizer(_model(), recipe=recipe)._parts
    for part, own in zip(parts, recipes, strict=True):
        expected = named[type(own).__name__](own)
        values = {value for each in expected.values() for value in np.atleast_1d(each).tolist()}
        numbers = [field.name for field in fields(own) if field.name != "adamw"]
        assert len(values) == len(numbers), "a field that nothing here asks for"
        decays = [group["weight_decay"] for group in part.param_groups]
        assert decays == [own.weight_decay, 0.0][: 1 if isinstance(own, Muon) else 2]
        for group in part.param_groups:
            free = {} if group["weight_decay"] else {"weight_decay": 0.0}
            assert {name: group[name] for name in expected} == expected | free


def _adafactor(weight, gradients, recipe):
    """By its equations in float64: Shazeer and Stern 2018, algorithms 4 and 5."""
    weight = weight.double()
    rows = columns = 0.0
    for count, gradient in enumerate(gradients, start=1):
        squared = gradient.double().square()
        keep = 1.0 - count**-recipe.decay_rate
        rows = keep * rows + (1 - keep) * squared.mean(-1, keepdim=True)
        columns = keep * columns + (1 - keep) * squared.mean(-2, keepdim=True)
        update = gradient.double() / (rows * columns / rows.mean()).sqrt()
        update = update / max(1.0, float(update.square().mean().sqrt()) / recipe.clip_threshold)
        scale = max(1e-3, float(weight.square().mean().sqrt()))
        weight = weight * (1 - recipe.learning_rate * recipe.weight_decay)
        weight = weight - min(recipe.learning_rate, count**-0.5) * scale * update
    return weight


def _adamw(weight, gradients, recipe):
    """By its equations in float64: Loshchilov and Hutter 2019, algorithm 2."""
    weight = weight.double()
    mean = square = 0.0
    for count, gradient in enumerate(gradients, start=1):
        weight = weight * (1 - recipe.learning_rate * recipe.weight_decay)
        mean = recipe.beta1 * mean + (1 - recipe.beta1) * gradient.double()
        square = recipe.beta2 * square + (1 - recipe.beta2) * gradient.double().square()
        root = (square / (1 - recipe.beta2**count)).sqrt() + recipe.epsilon
        weight = weight - recipe.learning_rate * mean / (1 - recipe.beta1**count) / root
    return weight


@pytest.mark.parametrize(
    "recipe",
    [
        Adafactor(learning_rate=0.01, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.0),
        Adafactor(learning_rate=0.9, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.0),
        GIVEN["adafactor"],
        GIVEN["adamw"],
    ],
    ids=["adafactor, paper", "cut by 1/sqrt(t)", "adafactor", "adamw"],
)
def test_an_optimiser_equals_its_equations(recipe):
    torch.manual_seed(1)
    model = nn.Module()
    model.up = nn.Linear(3, 5, bias=False)
    gradients = [count**2 * torch.randn(5, 3) for count in range(1, 7)]
    written = _adafactor if isinstance(recipe, Adafactor) else _adamw
    expected = written(model.up.weight.detach(), gradients, recipe)
    optimizer = Optimizer(model, recipe=recipe)
    rate = recipe.learning_rate
    for count, gradient in enumerate(gradients, start=1):
        model.up.weight.grad = gradient.clone()
        applied = optimizer.step(1.0)
        cut = 1 / math.sqrt(count) if isinstance(recipe, Adafactor) else math.inf
        assert applied.learning_rate == pytest.approx(min(rate, cut))
    torch.testing.assert_close(model.up.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_adafactor_s_own_count_is_that_of_whoever_was_updated_most():
    """An embedding that has no gradient at first does not hold the logged rate back."""
    model = _model()
    optimizer = Optimizer(model, recipe=replace(ADAFACTOR, learning_rate=0.9))
    model.up(torch.ones(4)).sum().backward()
    assert optimizer.step(1.0).learning_rate == pytest.approx(0.9)
    optimizer.zero_grad()
    model.loss().backward()
    assert optimizer.step(1.0).learning_rate == pytest.approx(2**-0.5)


def test_what_is_frozen_is_in_no_group():
    model = _model()
    model.embedding.weight.requires_grad_(False)
    names = {name.split("/", 1)[1] for name in Optimizer(model, recipe=ADAMW).tensors()}
    assert names == {"positions.weight", "norm.weight", "up.weight", "head.weight"}


def test_adafactor_alone_has_the_papers_schedule_at_a_hundredth():
    """Its own min(0.01, 1/sqrt(t)) and Rsqrt(10,000) agree to one step in t = n + 1."""
    from study.runs.training import Rsqrt, learning_rate

    for updates in (1, 5_000, 10_000, 20_000, 131_072):
        paper = learning_rate(Rsqrt(flat_steps=10_000), base=0.01, step=updates - 1, total=131_072)
        assert min(0.01, updates**-0.5) == pytest.approx(paper, rel=1e-4)
        assert min(paper, updates**-0.5) == pytest.approx(paper, rel=1e-4)


def test_the_schedule_scales_every_groups_own_rate():
    """Its full rate, however often the rate was scaled before."""
    model = _model()
    optimizer = Optimizer(model, recipe=MUON)
    for share in (0.5, 0.25):
        model.loss().backward()
        assert optimizer.step(share).learning_rate == 0.02 * share
        rates = [{g["lr"] for g in part.param_groups} for part in optimizer._parts]
        assert rates == [{0.02 * share}, {0.01 * share}]


def test_joined_parts_do_what_they_do_apart():
    apart, together = _model(), _model()
    optimizer = Optimizer(apart, recipe=MUON)
    _steps(apart, optimizer, 2)
    other = Optimizer(together, recipe=MUON)
    joined = other.joined()
    for _ in range(2):
        together.loss().backward()
        joined.step()
        other.zero_grad()
        assert all(parameter.grad is None for parameter in together.parameters())
    for name, value in apart.state_dict().items():
        assert value.equal(together.state_dict()[name]), name


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("embedding.weight", (7, 4), "embedding"),
        ("head.weight", (7, 4), "head"),
        ("decoder.blocks.0.mixer.head.weight", (4, 4), "matrix"),
        ("decoder.blocks.0.mixer.short", (4, 3), "norm"),
        ("decoder.norm.weight", (4,), "norm"),
        ("decoder.positions.weight", (3, 2), "positions"),
        ("encoder.blocks.1.mixer.after.up.weight", (4, 4), "positions"),
        ("encoder.blocks.1.mixer.before.up.weight", (4, 4), "positions"),
        ("encoder.blocks.1.mixer.into_basis", (4, 4), "positions"),
        ("encoder.blocks.1.mixer.out_of_basis", (4, 4), "positions"),
        ("decoder.blocks.0.mlp.up.weight", (8, 4), "matrix"),
    ],
)
def test_what_a_parameter_is_for_follows_from_its_name(name, shape, expected):
    assert role(name, torch.empty(shape)) == expected
