"""Kernels are tried before they are used: what fails is named, and torch's operations step in."""

import sys
from dataclasses import replace

import pytest
import tiny_runs
import torch

from kernels import backend
from study.language.model import kernel_trial
from study.language.model.kernel_trial import choose_kernels, trial
from study.runs.execution import Execution
from study.train.ranks import single_process

MODEL = replace(tiny_runs.MODEL, heads=1)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _as_before():
    with backend.using("auto"):
        yield


@pytest.fixture
def on_a_gpu(monkeypatch):
    """`auto` means Triton here, as it does on a GPU."""
    real = backend.backend
    monkeypatch.setattr(
        backend,
        "backend",
        lambda device, dtype: "triton" if backend._asked == "auto" else real(device, dtype),
    )


def settled(model=MODEL, kernels="auto"):
    said = []
    choose_kernels(
        model,
        execution=Execution(kernels=kernels),
        ranks=single_process(),
        precision="float32",
        warn=said.append,
    )
    return said


def test_kernels_that_agree_pass():
    """In float32: Triton's interpreter, which runs them here, has no bfloat16."""
    assert trial(MODEL, device=CPU, precision="float32") is None


def test_where_torch_is_meant_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(kernel_trial, "trial", None)
    assert settled() == []


def absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in [name for name in sys.modules if name.startswith("kernels.attention.op")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("kernels.attention.op", raising=False)
    monkeypatch.delitem(sys.modules, "kernels.attention.triton", raising=False)
    return "triton"


def not_compiling(monkeypatch):
    def fails(*_):
        raise RuntimeError("PTX assembly aborted\nwith many lines")

    monkeypatch.setattr("kernels.attention.op.forward", fails)
    return "RuntimeError: PTX assembly aborted"


def wrong(monkeypatch):
    from kernels.attention import op

    real = op.forward

    def off(query, *rest):
        out, *others = real(query, *rest)
        return out * 1.01, *others

    monkeypatch.setattr(op, "forward", off)
    return "states differ from torch's by"


@pytest.mark.parametrize("fault", [absent, not_compiling, wrong])
def test_auto_falls_back_and_says_why(monkeypatch, on_a_gpu, fault):
    words = fault(monkeypatch)
    (said,) = settled()
    assert words in said
    assert "torch's operations are instead" in said
    assert backend.backend(CPU, torch.float32) == "torch"


@pytest.mark.parametrize("fault", [absent, not_compiling, wrong])
def test_kernels_asked_for_by_name_are_refused(monkeypatch, fault):
    words = fault(monkeypatch)
    with pytest.raises(
        ValueError, match=r"do not compute the mixer 'attention'.*legal: kernels auto"
    ) as caught:
        settled(kernels="triton")
    assert words in str(caught.value)


def test_a_head_width_that_the_kernels_lack_is_named(on_a_gpu):
    (said,) = settled(replace(MODEL, d_head=512))
    assert "head width 512" in said
