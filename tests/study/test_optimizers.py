import math

import pytest
import torch
from torch import nn

from study.optimizers import Optimizer
from study.run import Adafactor, AdamW, Muon

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
    from study.checkpoint import read_tensors, write_tensors

    straight = _model()
    one = Optimizer(straight, recipe=recipe)
    _steps(straight, one, 3)
    weights = {name: value.detach().clone() for name, value in straight.state_dict().items()}
    write_tensors(tmp_path / "state.safetensors", tensors=one.tensors())
    _steps(straight, one, 4)

    resumed = _model()
    resumed.load_state_dict(weights)
    other = Optimizer(resumed, recipe=recipe)
    other.load(read_tensors(tmp_path / "state.safetensors"))
    _steps(resumed, other, 4)
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


def _written_out(weight, gradients, *, rate):
    """Adafactor by its equations in float64: Shazeer and Stern 2018, algorithms 4 and 5."""
    weight = weight.double()
    rows = columns = 0.0
    for count, gradient in enumerate(gradients, start=1):
        squared = gradient.double().square()
        keep = 1.0 - count**-0.8
        rows = keep * rows + (1 - keep) * squared.mean(-1, keepdim=True)
        columns = keep * columns + (1 - keep) * squared.mean(-2, keepdim=True)
        update = gradient.double() / (rows * columns / rows.mean()).sqrt()
        update = update / max(1.0, float(update.square().mean().sqrt()))
        scale = max(1e-3, float(weight.square().mean().sqrt()))
        weight = weight - min(rate, count**-0.5) * scale * update
    return weight


@pytest.mark.parametrize("rate", [0.01, 0.9], ids=["paper", "cut by 1/sqrt(t)"])
def test_adafactor_equals_its_equations(rate):
    torch.manual_seed(1)
    model = nn.Module()
    model.up = nn.Linear(3, 5, bias=False)
    gradients = [torch.randn(5, 3) for _ in range(6)]
    expected = _written_out(model.up.weight.detach(), gradients, rate=rate)
    optimizer = Optimizer(
        model,
        recipe=Adafactor(learning_rate=rate, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.0),
    )
    for count, gradient in enumerate(gradients, start=1):
        model.up.weight.grad = gradient.clone()
        applied = optimizer.step(1.0)
        assert applied.learning_rate == pytest.approx(min(rate, 1 / math.sqrt(count)))
    torch.testing.assert_close(model.up.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_adafactor_alone_has_the_papers_schedule_at_a_hundredth():
    """Its own min(0.01, 1/sqrt(t)) and Rsqrt(10,000) agree to one step in t = n + 1."""
    from study.run import Rsqrt
    from study.schedules import learning_rate

    for updates in (1, 5_000, 10_000, 20_000, 131_072):
        paper = learning_rate(Rsqrt(flat_steps=10_000), base=0.01, step=updates - 1, total=131_072)
        assert min(0.01, updates**-0.5) == pytest.approx(paper, rel=1e-4)
        assert min(paper, updates**-0.5) == pytest.approx(paper, rel=1e-4)


def test_the_schedule_scales_every_groups_own_rate():
    model = _model()
    optimizer = Optimizer(model, recipe=MUON)
    model.loss().backward()
    optimizer.step(0.25)
    rates = {group["lr"] for part in optimizer._parts for group in part.param_groups}
    assert rates == {0.02 * 0.25, 0.01 * 0.25}
