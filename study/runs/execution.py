"""How a run is executed on this machine: threads, device, micro-batch, paths, mirrors. No torch.

Nothing here is part of a run's identity. In one process with the same number of threads and the
same micro-batch, no field changes a weight. Threads, micro-batch, ranks, ZeRO stage, device,
activation checkpointing and `compile` change the order of floating-point sums (results agree to
rounding, and samples are the same; where rows are split otherwise, dropout draws other masks);
everything else changes only when and where things are written.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from study.runs import user_directories
from study.runs.node import Run, Trained
from study.runs.training import AdamW
from study.show.terminal import log_warning

BUCKET = 500_000_000
"""Numbers that DeepSpeed reduces at once, which a forecast of memory has to know."""


def default_cache() -> Path:
    """Where downloaded sources are kept: the user's cache directory, or a temporary one where
    nothing can be written there, which is said once.
    """
    path = user_directories.cache_home() / "archstudy"
    if not user_directories.holds(path):
        path = user_directories.temporary() / "archstudy"
    if user_directories.is_temporary(path):
        _say_temporary(path)
    return path


@functools.cache
def _say_temporary(path: Path) -> None:
    log_warning(
        f"there is no home directory that can be written, so downloads are kept in {path}; "
        "--cache DIR, `cache` in a profile's [execution] or XDG_CACHE_HOME names another place"
    )


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One machine's choices.

    threads: of torch, in each process. device: a torch device string.
    micro_batch: rows of one forward and backward pass of a rank, or None for its share at once.
    ranks: processes that train one run together, each on its own rows. zero: the ZeRO stage of
    DeepSpeed (1 shards optimiser state, 2 gradients as well, 3 weights as well); None is plain
    torch in one process.
    activation_checkpointing: recompute each layer in the backward pass instead of keeping it.
    checkpoint_seconds: at most this long between two checkpoints, so that a crash loses little.
    validation_points: places of the validation curve, evenly spaced; the last step is always one.
    kernels: what computes the mixers; see `kernels.backend`.
    wandb: `off`, `offline` (a local directory under the run's) or `online`; never needed.
    data_dirs: where `file://` sources lie. cache: downloaded sources.
    offline: nothing is downloaded; a source that is not in the cache is an error.
    """

    threads: int = 1
    device: str = "cpu"
    micro_batch: int | None = None
    ranks: int = 1
    zero: Literal[0, 1, 2, 3] | None = None
    activation_checkpointing: Literal["off", "on"] = "off"
    compile: Literal["off", "on"] = "off"
    kernels: Literal["auto", "torch", "triton"] = "auto"
    checkpoint_seconds: float = 120.0
    validation_points: int = 10
    wandb: Literal["off", "offline", "online"] = "off"
    data_dirs: tuple[Path, ...] = ()
    cache: Path = field(default_factory=default_cache)
    offline: bool = False

    def __post_init__(self) -> None:
        for name in ("threads", "ranks", "checkpoint_seconds", "validation_points"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"Execution.{name} is {getattr(self, name)!r}; it must be positive"
                )
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(
                f"Execution.micro_batch is {self.micro_batch}; legal: at least 1 row, or None"
            )
        if self.ranks > 1 and self.zero is None:
            raise ValueError(
                f"Execution.ranks is {self.ranks} and zero is None, plain torch in one process; "
                "legal for several ranks: zero 0, 1, 2 or 3 (the ZeRO stage)"
            )
        if self.ranks > 1 and self.device not in ("cpu", "cuda"):
            raise ValueError(
                f"Execution.device is {self.device!r} for {self.ranks} ranks, which take a card "
                "each by their local rank; legal: cpu, cuda"
            )
        for name, legal in (
            ("zero", (None, 0, 1, 2, 3)),
            ("activation_checkpointing", ("off", "on")),
            ("compile", ("off", "on")),
            ("kernels", ("auto", "torch", "triton")),
            ("wandb", ("off", "offline", "online")),
        ):
            if getattr(self, name) not in legal:
                found = getattr(self, name)
                raise ValueError(
                    f"Execution.{name} is {found!r}; legal: {', '.join(map(str, legal))}"
                )


def check_runs(runs: Iterable[Run], *, execution: Execution) -> None:
    """Raise ValueError naming the first run that can't be trained as the execution asks, before
    anything starts.

    ZeRO hands an optimiser flat slices of the tensors from stage 1 on. AdamW treats every number
    alike; Adafactor factors matrices and Muon orthogonalises them, which slices are not (measured:
    torch's Adafactor then trains, silently, to a loss off by more than 1).
    """
    if execution.zero is None:
        return
    if execution.zero == 3 and execution.compile == "on":
        raise ValueError(
            "Execution.compile is 'on' and zero is 3, whose weights come and go between the "
            "layers; legal: compile='off', or zero 0, 1 or 2"
        )
    for run in runs:
        if not isinstance(run, Trained) or isinstance(run.training.optimizer, AdamW):
            continue
        if execution.zero > 0:
            raise ValueError(
                f"{run.slug!r} trains with {type(run.training.optimizer).__name__}, and zero is "
                f"{execution.zero}, which gives it slices instead of matrices; legal: zero 0, or "
                "AdamW"
            )
