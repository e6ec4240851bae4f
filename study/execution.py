"""How a run is executed on this machine: threads, device, micro-batch, paths, mirrors. No torch.

Nothing here is part of a run's identity. In one process with the same number of threads and the
same micro-batch, no field changes a weight. Threads, micro-batch, device and `compile` change the
order of floating-point sums (results agree to rounding, and samples are the same); everything else
changes only when and where things are written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


def default_cache() -> Path:
    """Where downloaded sources are kept: the user's cache directory."""
    return Path.home() / ".cache" / "archstudy"


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One machine's choices.

    threads: of torch, in each process. device: a torch device string.
    micro_batch: rows of one forward and backward pass, or None for the whole batch at once.
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
    compile: Literal["off", "on"] = "off"
    kernels: Literal["auto", "torch", "triton"] = "auto"
    checkpoint_seconds: float = 120.0
    validation_points: int = 10
    wandb: Literal["off", "offline", "online"] = "off"
    data_dirs: tuple[Path, ...] = ()
    cache: Path = field(default_factory=default_cache)
    offline: bool = False

    def __post_init__(self) -> None:
        for name in ("threads", "checkpoint_seconds", "validation_points"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"Execution.{name} is {getattr(self, name)!r}; it must be positive"
                )
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(
                f"Execution.micro_batch is {self.micro_batch}; legal: at least 1 row, or None"
            )
        for name, legal in (
            ("compile", ("off", "on")),
            ("kernels", ("auto", "torch", "triton")),
            ("wandb", ("off", "offline", "online")),
        ):
            if getattr(self, name) not in legal:
                raise ValueError(
                    f"Execution.{name} is {getattr(self, name)!r}; legal: {', '.join(legal)}"
                )
