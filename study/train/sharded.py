"""The engine of several ranks: DeepSpeed, ZeRO 0 to 3, behind the loop's own protocol.

Owns how the model is wrapped, how gradients of the ranks become one, and which rank writes what of
a checkpoint. The configuration is `study.train.deepspeed_config`'s, the files of sharded state are
`study.train.optimizer_shards`'s.

Gradients are sums over all rows of the whole batch, divided once by its loss tokens. DeepSpeed
averages over ranks, so that every loss is multiplied by their number first.

    stage   each rank holds             of a checkpoint it writes
    0       everything                  rank 0: all, as the engine of one process does
    1, 2    its slice of AdamW's state  rank 0: weights; every rank its slice
    3       its slices of weights too   rank 0: weights, gathered one by one; every rank its slice
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from study.runs.execution import Execution
from study.runs.training import Training
from study.train import checkpoint, optimizer_shards
from study.train.deepspeed_config import check, configuration
from study.train.engine import NonFinite, Update
from study.train.learner import Batch, Computation, Losses
from study.train.optimizer_shards import Fragment, Stored
from study.train.optimizers import Optimizer
from study.train.ranks import Ranks


def deepspeed_for(device: str) -> Any:
    """The library, told what it computes on, without its chatter, and without a compiler.

    On a CPU it would build an extension for all-reduces in inference, which nothing here calls;
    the list of what it may build is a module attribute that it lets others edit.
    """
    kind = torch.device(device).type
    os.environ.setdefault("DS_ACCELERATOR", kind)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    import deepspeed
    import deepspeed.ops

    accelerator = deepspeed.accelerator.get_accelerator()
    found = None if accelerator is None else accelerator.device_name()
    if found != kind:
        raise ValueError(
            f"DeepSpeed computes on {found} in this process; legal for device {device!r}: {kind} "
            f"(DS_ACCELERATOR={kind})"
        )
    deepspeed.ops.__compatible_ops__ = {}  # type: ignore[attr-defined]
    logging.getLogger("DeepSpeed").addFilter(_worth_reading)
    return deepspeed


def _worth_reading(record: logging.LogRecord) -> bool:
    """ZeRO 3 finds tensors in lists and dictionaries, not in `Batch` or `Mixing`; the one that it
    needs of a module, its hidden states, is an argument of its own.
    """
    return "unknown inputs or outputs type" not in record.getMessage()


class _Losses(nn.Module):
    """What DeepSpeed wraps: a batch to its losses, so that `forward` uses all weights."""

    def __init__(self, computed: Computation, *, device: torch.device) -> None:
        super().__init__()
        self.model = computed.model
        self._computed = computed
        self._device = device

    def forward(self, batch: Batch) -> Losses:
        return self._computed.losses(batch, device=self._device)


class ShardedEngine:
    """DeepSpeed over the ranks of a joined group."""

    def __init__(
        self,
        computed: Computation,
        *,
        training: Training,
        execution: Execution,
        ranks: Ranks,
    ) -> None:
        """computed: its model is plain, with the weights to begin from, equal on all ranks."""
        library = deepspeed_for(ranks.device)
        assert execution.zero is not None, "one process without DeepSpeed has `TorchEngine`"
        device = torch.device(ranks.device)
        self._computed = computed
        self.model = model = computed.model.to(device).train()
        self.ranks = ranks
        self._stage = execution.zero
        self._training = training
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._shapes = {name: value.shape for name, value in model.named_parameters()}
        self.optimizer = Optimizer(model, recipe=training.optimizer)
        self._joined = self.optimizer.joined()
        self._norm = math.nan
        if self._stage == 0:
            self._joined.register_step_pre_hook(lambda *_: self._clip())
        config = configuration(
            training,
            execution=execution,
            width=computed.width,
            parameters=sum(p.numel() for p in self._parameters),
        )
        check(config)
        self._library = library
        self._engine = library.initialize(
            model=_Losses(computed, device=device),
            optimizer=self._joined,
            config=config,
        )[0]

    def forward_backward(self, batch: Batch, *, denominator: float) -> Mapping[str, Tensor]:
        losses = self._engine(batch)
        self._engine.backward(losses.total * (self.ranks.world / denominator))
        return {name: value.detach() for name, value in losses.parts.items()}

    def step(self, share: float) -> Update:
        self.optimizer.scale(share)
        self._engine.step()
        if self._stage:
            applied = self._engine.was_step_applied()
            self._norm = float(self._engine.get_global_grad_norm()) if applied else math.inf
        if not math.isfinite(self._norm):
            raise NonFinite(f"the gradient's norm is {self._norm}")
        limit = self._training.clip_norm
        return Update(
            learning_rate=self._rate(),
            grad_norm=self._norm,
            clipped=limit is not None and self._norm > limit,
        )

    def _rate(self) -> float:
        return self.optimizer.applied().learning_rate

    def _clip(self) -> None:
        """Without ZeRO, between the reduction of the gradients and the update."""
        total = torch.nn.utils.get_total_norm(
            [p.grad for p in self._parameters if p.grad is not None]
        )
        self._norm = float(total)
        if not math.isfinite(self._norm):
            raise NonFinite(f"the gradient's norm is {self._norm}")
        limit = self._training.clip_norm
        if limit is not None and self._norm > limit:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, limit, total)

    def evaluate(self, batch: Batch) -> float:
        self._engine.eval()
        try:
            with torch.no_grad():
                return float(self._engine(batch).parts["loss"])
        finally:
            self._engine.train()

    def write(self, directory: Path) -> None:
        self.write_weights(directory)
        if self._stage == 0:
            if self.ranks.first:
                file = directory / optimizer_shards.WHOLE
                checkpoint.write_tensors(file, tensors=self.optimizer.tensors())
            return
        optimizer_shards.write_shard(
            directory,
            fragments=self._fragments(),
            optimizer=self._joined,
            shard=(self.ranks.rank, self.ranks.world),
        )

    def write_weights(self, directory: Path) -> None:
        """The model alone, by rank 0; every rank has to call this."""
        if self._stage < 3:
            if self.ranks.first:
                self._computed.write(directory)
                checkpoint.write_weights(directory, model=self.model)
            return
        gathered = {}
        for name, parameter in self.model.named_parameters():
            with self._library.zero.GatheredParameters([parameter]):
                if self.ranks.first:
                    gathered[name] = parameter.detach().cpu().clone()
        if self.ranks.first:
            self._computed.write(directory)
            checkpoint.write_weights(directory, model=self.model, tensors=gathered)

    def read_optimizer(self, directory: Path) -> None:
        if self._stage == 0:
            self.optimizer.load(optimizer_shards.read_whole(directory, self._shapes))
            return
        optimizer_shards.load(
            Stored(directory=directory),
            fragments=self._fragments(),
            optimizer=self._joined,
            shapes=self._shapes,
        )

    def _fragments(self) -> Iterator[Fragment]:
        """Where this rank's slice of every parameter's state lies in its flat buffers."""
        theirs = self._engine.optimizer
        for name, parameter in self.model.named_parameters():
            if self._stage == 3:
                group, at, size = theirs.grad_position[theirs.get_param_id(parameter)]
                low = self.ranks.rank * size
                count = min(size, self._shapes[name].numel() - low)
                flat = theirs.fp32_partitioned_groups_flat[group]
            elif (mapping := parameter._hp_mapping) is not None:  # type: ignore[attr-defined]
                group = mapping.param_group_index
                at, low = mapping.hp_fragment_address.start, mapping.lp_fragment_address.start
                count = mapping.lp_fragment_address.numel
                flat = theirs.single_partition_of_fp32_groups[group]
            else:
                continue
            if count > 0:
                yield Fragment(name=name, low=low, count=count, flat=flat, at=at)
