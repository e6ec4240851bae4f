"""DeepSpeed's configuration, derived from the run and its execution. Nothing in it is "auto".

Owns the values and the check that DeepSpeed reads every one of them: by itself it passes over a key
that it does not know, so that a typing error would silently train with a default.

Precision is not DeepSpeed's part: its `bf16` section turns parameters into bfloat16, and its
`torch_autocast` sums the gradients of linear layers in bfloat16. The engine enters torch's autocast
itself, as the engine of one process does, and DeepSpeed sees float32 alone.
"""

from __future__ import annotations

import difflib
import functools
from typing import Any

from study.runs.execution import BUCKET, Execution
from study.runs.training import Training

PERSISTENT_ROWS = 10


def configuration(
    training: Training, *, execution: Execution, width: int, parameters: int
) -> dict[str, Any]:
    """What `deepspeed.initialize` gets. parameters: how many. width: of the layers."""
    stage = execution.zero
    assert stage is not None, "the engine of one process has no DeepSpeed"
    rows = execution.micro_batch or -(-training.batch_size // execution.ranks)
    # A bucket is memory: no larger than the model itself.
    bucket = min(BUCKET, parameters)
    zero: dict[str, Any] = {"stage": stage}
    if stage:
        zero |= {
            "contiguous_gradients": True,
            "reduce_bucket_size": bucket,
            # On a CPU there is no stream beside the computation to reduce on.
            "overlap_comm": stage >= 2 and execution.device != "cpu",
        }
    if stage in (1, 2):
        zero["allgather_bucket_size"] = bucket
    if stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": min(BUCKET // 10, parameters),
            # Norms, short filters and tables stay whole: fetching one costs more than keeping it.
            "stage3_param_persistence_threshold": PERSISTENT_ROWS * width,
        }
    return {
        "train_micro_batch_size_per_gpu": rows,
        "gradient_accumulation_steps": 1,
        # `step` ends an accumulation, whatever the number of passes before it.
        "managed_gradient_accumulation": False,
        # Without ZeRO the engine clips by itself, and asks for the norm first.
        "gradient_clipping": (training.clip_norm or 0.0) if stage else 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": zero,
    }


def check(config: dict[str, Any]) -> None:
    """Raise ValueError naming a key that DeepSpeed does not read, with the nearest that it does,
    or a value that leaves the choice to somebody else.
    """
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    fields = DeepSpeedZeroConfig.model_fields
    sections = {
        "zero_optimization": {*fields} | {field.alias for field in fields.values() if field.alias}
    }
    _check_keys(config, legal=_keys_read(), where="DeepSpeed's configuration")
    for name, value in config.items():
        if isinstance(value, dict):
            if name not in sections:
                raise ValueError(
                    f"the keys of DeepSpeed's section {name!r} are not checked here; legal: "
                    + ", ".join(sections)
                )
            _check_keys(value, legal=sections[name], where=f"DeepSpeed's section {name!r}")
    for name, value in (*config.items(), *config.get("zero_optimization", {}).items()):
        if value == "auto":
            raise ValueError(f"{name} is 'auto' in DeepSpeed's configuration; legal: a value")


def _check_keys(config: dict[str, Any], *, legal: set[str] | frozenset[str], where: str) -> None:
    for name in config:
        if name not in legal:
            near = difflib.get_close_matches(name, legal, n=1, cutoff=0.0)
            raise ValueError(f"{where} has {name!r}, which DeepSpeed ignores; nearest: {near[0]!r}")


class _Asked(dict):
    """A dictionary that remembers which keys it was asked for."""

    asked: set[str]

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def keys(self) -> Any:
        return self  # what is asked of the keys is asked of us

    def __copy__(self) -> _Asked:
        return self


@functools.cache
def _keys_read() -> frozenset[str]:
    """The keys at the top that DeepSpeed's own parser asks for, less those it asks for only to
    refuse them.
    """
    from deepspeed.runtime import config as theirs

    content = _Asked({"train_micro_batch_size_per_gpu": 1})
    content.asked = set()
    theirs.DeepSpeedConfig(content)
    return frozenset(content.asked) - {*theirs._REMOVED_TOP_LEVEL_CONFIG_KEYS}
