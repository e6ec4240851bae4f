import pytest
import torch

from study.loss import cross_entropy


def _reference(logits, labels, z_loss):
    """By torch's own operations, in float64."""
    log_z = logits.logsumexp(-1)
    picked = logits.gather(-1, labels[:, None])[:, 0]
    return (log_z - picked).sum(), z_loss * log_z.square().sum()


@pytest.mark.parametrize("z_loss", [0.0, 1e-4, 0.5])
def test_values_and_gradient_equal_autograd(z_loss):
    torch.manual_seed(0)
    logits = 4 * torch.randn(9, 13)
    labels = torch.randint(0, 13, (9,))
    ours, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    summed, z_term = cross_entropy(ours, labels, z_loss=z_loss)
    expected, expected_z = _reference(exact, labels, z_loss)
    torch.testing.assert_close(summed.double(), expected, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(z_term.double(), expected_z, rtol=1e-6, atol=1e-6)
    ((2.0 * summed + 3.0 * z_term) / 7.0).backward()
    ((2.0 * expected + 3.0 * expected_z) / 7.0).backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_no_loss_position_gives_zero_and_no_gradient():
    logits = torch.zeros(0, 5, requires_grad=True)
    summed, z_term = cross_entropy(logits, torch.zeros(0, dtype=torch.int64), z_loss=1e-4)
    (summed + z_term).backward()
    assert summed.item() == z_term.item() == 0.0


def test_bfloat16_logits_are_summed_in_float32():
    logits = torch.randn(6, 11).bfloat16()
    labels = torch.randint(0, 11, (6,))
    summed, _ = cross_entropy(logits, labels, z_loss=0.0)
    assert summed.dtype == torch.float32
    torch.testing.assert_close(summed, _reference(logits.float(), labels, 0.0)[0])
