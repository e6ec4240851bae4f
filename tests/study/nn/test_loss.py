import pytest
import torch

from study.nn import cost
from study.nn.loss import linear_cross_entropy


def _reference(logits, labels, z_loss):
    """By torch's own operations."""
    log_z = logits.logsumexp(-1)
    picked = logits.gather(-1, labels[:, None])[:, 0]
    return (log_z - picked).sum(), z_loss * log_z.square().sum()


def _problem(positions=9, width=6, vocabulary=13):
    torch.manual_seed(0)
    states, weight = torch.randn(positions, width), 2 * torch.randn(vocabulary, width)
    return states, weight, torch.randint(0, vocabulary, (positions,))


def _both(states, weight, labels, *, z_loss, scale=1 / 7, **named):
    """(ours, ours' gradients, the equation's in float64, its gradients)"""
    own = [each.clone().requires_grad_() for each in (states, weight)]
    exact = [each.double().requires_grad_() for each in (states, weight)]
    ours = linear_cross_entropy(*own, labels, z_loss=z_loss, **named)
    expected = _reference(exact[0] @ exact[1].T, labels, z_loss)
    (ours.total * scale).backward()
    (sum(expected) * scale).backward()
    return ours, [each.grad for each in own], expected, [each.grad for each in exact]


@pytest.mark.parametrize("z_loss", [0.0, 1e-4, 0.5])
@pytest.mark.parametrize("numbers", [13, 4 * 13, 2**21])  # one row a block, several, all in one
def test_values_and_gradients_equal_autograd(z_loss, numbers, monkeypatch):
    monkeypatch.setitem(cost.NUMBERS, "cpu", numbers)
    ours, grads, expected, exact = _both(*_problem(), z_loss=z_loss)
    torch.testing.assert_close(ours.cross_entropy.double(), expected[0], rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(ours.z_term.double(), expected[1], rtol=1e-6, atol=1e-6)
    assert ours.total == ours.cross_entropy + ours.z_term
    for one, other in zip(grads, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_in_float64_it_is_exact():
    states, weight, labels = _problem()
    _, grads, _, exact = _both(states.double(), weight.double(), labels, z_loss=1e-2)
    for one, other in zip(grads, exact, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_no_loss_position_gives_zero_and_no_gradient():
    states, weight = torch.zeros(0, 3, requires_grad=True), torch.ones(5, 3, requires_grad=True)
    found = linear_cross_entropy(states, weight, torch.zeros(0, dtype=torch.int64), z_loss=1e-4)
    found.total.backward()
    assert found.total.item() == found.cross_entropy.item() == found.z_term.item() == 0.0
    assert not weight.grad.any()


def test_under_autocast_products_are_narrow_and_sums_wide():
    states, weight, labels = _problem(positions=300, vocabulary=50)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, grads, expected, exact = _both(states, weight, labels, z_loss=1e-4, scale=1e-30)
    assert ours.total.dtype == torch.float32
    rounded = states.bfloat16() @ weight.bfloat16().T
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(
        ours.cross_entropy, _reference(rounded.float(), labels, 0.0)[0], rtol=1e-6, atol=0
    )
    assert abs(ours.cross_entropy / expected[0] - 1) < 1e-2
    for one, other in zip(grads, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one.double() - other).norm() < 2e-2 * other.norm()
        assert other.abs().max() < 1e-27  # no 16-bit number between loss and gradient lost it


def test_without_gradients_nothing_is_kept():
    states, weight, labels = _problem()
    with torch.no_grad():
        found = linear_cross_entropy(states, weight, labels, z_loss=0.0)
    assert not found.total.requires_grad
    expected = _reference(states @ weight.T, labels, 0.0)[0]
    torch.testing.assert_close(found.total, expected)


def test_logits_that_overflow_an_exponential_are_summed():
    states, weight, labels = _problem()
    ours, _, expected, _ = _both(300 * states, weight, labels, z_loss=0.0)
    torch.testing.assert_close(ours.total.double(), sum(expected), rtol=1e-6, atol=1e-3)


def test_a_wrapped_block_works_on_whole_blocks_only(monkeypatch):
    monkeypatch.setitem(cost.NUMBERS, "cpu", 4 * 13)
    seen = []

    def wrap(block):
        def counted(logits, labels, z_loss):
            seen.append(len(labels))
            return block(logits, labels, z_loss)

        return counted

    linear_cross_entropy(*_problem(), z_loss=0.0, compiled=wrap)
    assert seen == [4, 4]  # and the ninth row is left as it is
