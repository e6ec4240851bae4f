"""What a training step costs in a domain without formulas: its model is built without memory, and
what it does is counted.

Owns the count alone. FLOPs are those of `torch.utils.flop_counter`: two per multiply-add of matrix
products, convolutions and attention (whole rectangles of it), and what an operator of this project
registered there. Transforms, norms and everything else that works number by number are left out,
as they are in `study.language.cost`. The backward pass is counted as autograd runs it: nothing for
gradients that nobody asks for, such as those of a batch.

torch is imported when something is counted, which costs a plan two seconds. Saved activations are
not counted: the meta device knows no autocast and no fused attention, so it saves other tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.runs.identity import digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

TORCHS = ("aten", "prim", "prims")
"""Namespaces of operators that torch's counter knows, or knows to be no product."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """parameters: trainable numbers, each once. flops: of one step, forward and backward."""

    parameters: int
    flops: int


Loss = Callable[[Any, "torch.device"], "Tensor"]
_counts: dict[str, Count] = {}


def counted(value: Any, *, model: Callable[[], nn.Module], loss: Loss) -> Count:
    """What one step takes, remembered by the digest of `value`: all that sets the sizes of model
    and batch, as a frozen value or a tuple of them.

    model: builds it, under the meta device, where a tensor has a shape and no numbers. loss: takes
    it and a device, that one, and gives the scalar that a step on a whole batch goes down. Raises
    ValueError where a number of a tensor is asked for, and for an operator from outside of torch
    that registered no FLOPs.
    """
    key = digest(value)
    if key not in _counts:
        _counts[key] = _count(model, loss)
    return _counts[key]


def _count(build: Callable[[], nn.Module], loss: Loss) -> Count:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    counter, unknown = FlopCounterMode(display=False), set()

    class Watch(TorchDispatchMode):
        """The counter takes an operator that it does not know for one of no FLOPs."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            if func.namespace not in TORCHS and func.overloadpacket not in counter.flop_registry:
                unknown.add(str(func.overloadpacket))
            return func(*args, **kwargs or {})

    try:
        with (meta := torch.device("meta")):
            built = build()
        with torch.enable_grad(), Watch(), counter:
            loss(built, meta).backward()
    except (NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"a step does not run on the meta device, which holds no numbers ({error}); legal: a "
            "model that asks for none, or a formula of the domain's own"
        ) from error
    if unknown:
        raise ValueError(
            f"FLOPs of {', '.join(sorted(unknown))} are not known; legal: operators of torch, and "
            "those given to torch.utils.flop_counter.register_flop_formula"
        )
    return Count(
        parameters=sum(each.numel() for each in built.parameters() if each.requires_grad),
        flops=counter.get_total_flops(),
    )
