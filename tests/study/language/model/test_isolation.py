"""The self-test passes on every model as it is built, and catches each kind of planted leak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from kernels.visibility import Visibility
from study.language.layout import Batch
from study.language.model import isolation
from study.language.model.build import build
from study.language.model.isolation import IsolationError, check_isolation
from study.language.values.model import Model

ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
VOCABULARY = 64


def model(architecture, positions="rope") -> nn.Module:
    shape = Model(
        architecture=architecture,
        mixer="attention",
        positions=positions,
        layers=2,
        d_model=16,
        heads=2,
        d_head=8,
        d_ff=32,
        vocab_size=VOCABULARY,
        tied=True,
    )
    return build(shape, dropout=0.1, seed=0)


def check(tested, architecture, precision="float32") -> isolation.Isolation:
    return check_isolation(
        tested, architecture=architecture, vocab_size=VOCABULARY, precision=precision
    )


class Tampered(nn.Module):
    """A model that is given another batch than the one it was asked about."""

    def __init__(self, inner: nn.Module, tamper: Callable[[Batch], Batch]) -> None:
        super().__init__()
        self.inner = inner
        self.tamper = tamper

    def hidden(self, batch: Batch) -> torch.Tensor:
        return self.inner.hidden(self.tamper(batch))  # type: ignore[operator]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.inner.logits(hidden)  # type: ignore[operator]


class Compiled(nn.Module):
    """A model as an engine runs it under `--compile on`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.hidden = torch.compile(inner.hidden)  # type: ignore[arg-type]
        self.logits = inner.logits


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16_autocast"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiled_models_pass_and_a_compiled_leak_is_named(architecture, precision):
    torch.compiler.reset()  # what other tests compiled counts towards its limit of variants
    tested = model(architecture)
    assert check(Compiled(tested), architecture, precision) == check(
        tested, architecture, precision
    )
    if architecture == "causal_decoder":

        def ahead(batch: Batch) -> Batch:
            end = (batch.visibility.end + 1).clamp(max=batch.visibility.num_keys)
            seen = Visibility.build(batch.visibility.start, end, num_keys=end.shape[1])
            return replace(batch, visibility=seen)

        with pytest.raises(IsolationError):
            check(Compiled(Tampered(tested, ahead)), architecture, precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16_autocast"])
@pytest.mark.parametrize("positions", ["rope", "t5_bias", "t5_bias_paper"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_as_they_are_built_pass(architecture, positions, precision):
    found = check(model(architecture, positions), architecture, precision)
    assert found.perturbations > 20
    assert found.protected > 1000


def widened(visibility: Visibility, *, start: int = 0, end: int = 0) -> Visibility:
    """Intervals that reach further, where there is something further."""
    return Visibility.build(
        (visibility.start - start).clamp(min=0),
        (visibility.end + end).clamp(max=visibility.num_keys),
        num_keys=visibility.num_keys,
    )


def one_future_token(batch: Batch) -> Batch:
    return replace(batch, visibility=widened(batch.visibility, end=1))


def the_document_before(batch: Batch) -> Batch:
    return replace(batch, visibility=widened(batch.visibility, start=1))


def the_source_before(batch: Batch) -> Batch:
    assert batch.source is not None
    source = replace(batch.source, cross=widened(batch.source.cross, start=1))
    return replace(batch, source=source)


def the_source_after(batch: Batch) -> Batch:
    assert batch.source is not None
    source = replace(batch.source, visibility=widened(batch.source.visibility, end=1))
    return replace(batch, source=source)


def unshifted(batch: Batch) -> Batch:
    """The labels as inputs: each position reads what it has to predict."""
    return replace(batch, tokens=torch.where(batch.loss_mask, batch.labels, batch.tokens))


def causal_prefix(batch: Batch) -> Batch:
    ends = torch.arange(1, batch.visibility.num_keys + 1, dtype=torch.int32)
    end = torch.minimum(batch.visibility.end, ends.expand_as(batch.visibility.end))
    end = torch.maximum(end, batch.visibility.start)
    visibility = Visibility.build(batch.visibility.start, end, num_keys=batch.visibility.num_keys)
    return replace(batch, visibility=visibility)


def no_source(batch: Batch) -> Batch:
    assert batch.source is not None
    cross = batch.source.cross
    nothing = Visibility.build(cross.start, cross.start, num_keys=cross.num_keys)
    return replace(batch, source=replace(batch.source, cross=nothing))


@pytest.mark.parametrize(
    ("architecture", "tamper", "message"),
    [
        ("causal_decoder", one_future_token, "leak: changing target"),
        ("prefix_decoder", one_future_token, "leak: changing target"),
        ("encoder_decoder", one_future_token, "leak: changing target"),
        ("causal_decoder", unshifted, "leak: changing target"),
        ("encoder_decoder", unshifted, "leak: changing target"),
        ("causal_decoder", the_document_before, r"leak: .* of document 1 in row 0"),
        ("prefix_decoder", the_document_before, r"leak: .* of document 1 in row 0"),
        ("encoder_decoder", the_source_before, r"leak: changing input .* of document 1 in row 0"),
        ("encoder_decoder", the_source_after, "leak: changing"),
        ("prefix_decoder", causal_prefix, r"changing input .* must see it"),
        ("encoder_decoder", no_source, r"changing input .* must see it"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_planted_leak_is_named(architecture, tamper, message):
    with pytest.raises(IsolationError, match=message):
        check(Tampered(model(architecture), tamper), architecture)


@pytest.mark.parametrize("side", ["decoder", "source"])
def test_visible_padding_is_named(side, monkeypatch):
    """With one document a row, padding is the only thing beside it that a model could see."""
    monkeypatch.setattr(isolation, "PACKED", (((6, 5),), ((3, 4),)))

    def padding_first(batch: Batch) -> Batch:
        """Every query sees the last key, which is padding."""
        assert batch.source is not None
        visibility = batch.source.cross if side == "source" else batch.visibility
        if visibility.num_keys < 16:
            return batch
        end = torch.full_like(visibility.end, visibility.num_keys)
        seen = Visibility.build(visibility.start, end, num_keys=visibility.num_keys)
        if side == "source":
            return replace(batch, source=replace(batch.source, cross=seen))
        # The decoder's future is no padding: only the last real position may see what follows it.
        last = batch.segments.ne(0) & batch.segments.roll(-1, 1).eq(0)
        end = torch.where(last, seen.end, visibility.end)
        widened = Visibility.build(visibility.start, end, num_keys=visibility.num_keys)
        return replace(batch, visibility=widened)

    with pytest.raises(IsolationError, match=f"leak: changing the padding of the {side}"):
        check(Tampered(model("encoder_decoder"), padding_first), "encoder_decoder")


def test_an_unmasked_route_is_probed_too(monkeypatch):
    """A kernel that takes plain causal rows to be full ones leaks only where nothing is packed."""

    def full_where_causal(batch: Batch) -> Batch:
        if batch.visibility.pattern != "causal":
            return batch
        visibility = batch.visibility
        end = torch.full_like(visibility.end, visibility.num_keys)
        full = Visibility.build(visibility.start, end, num_keys=visibility.num_keys)
        return replace(batch, visibility=full)

    with pytest.raises(IsolationError, match="leak: changing target"):
        check(Tampered(model("causal_decoder"), full_where_causal), "causal_decoder")


def test_the_model_and_the_random_state_are_as_before():
    tested = model("prefix_decoder")
    frozen = next(module for module in tested.modules() if module is not tested)
    frozen.eval()
    modes = [module.training for module in tested.modules()]
    assert True in modes
    assert False in modes
    state = torch.get_rng_state()
    weights = {name: tensor.clone() for name, tensor in tested.state_dict().items()}
    check(tested, "prefix_decoder")
    assert [module.training for module in tested.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in tested.state_dict().items():
        assert torch.equal(tensor, weights[name])
    with pytest.raises(IsolationError):
        check(Tampered(tested, one_future_token), "prefix_decoder")
    assert [module.training for module in tested.modules()] == modes


def test_logits_that_are_not_finite_are_called_that():
    broken = model("causal_decoder")
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(IsolationError, match="not finite"):
        check(broken, "causal_decoder")


def test_a_vocabulary_too_small_to_perturb_is_refused():
    with pytest.raises(ValueError, match="vocab_size is 3; legal: at least 4"):
        check_isolation(
            model("causal_decoder"),
            architecture="causal_decoder",
            vocab_size=3,
            precision="float32",
        )
