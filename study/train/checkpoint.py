"""What a checkpoint holds, and how it is written and read.

    checkpoints/step-00001200/
        model.safetensors, and what the domain writes beside it   (a config.json)
        optimizer.safetensors                                     `KEY/PARAMETER` tensors, or one
        optimizer-00000-of-00002.safetensors                      a rank (`train.optimizer_shards`)
        state.json                                                `Progress`, run id, random states
        manifest.json                                             sizes, digests (`store.directory`)

Publishing is `study.store.directory`'s: write aside, fsync, rename. Nothing here is pickled; a file
that is not safetensors is refused by name.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands after `step` of its own updates.

    tokens: content tokens seen by this run, padding left out. data_digest: sha256 chained over the
    digests of its batches. clipped_steps: updates whose gradient was clipped.
    validated_step, validation_loss: the last validation, -1 and None before the first.
    train_seconds: inside steps; wall_seconds: inside the loop, saves and validation included; both
    over all sessions.
    """

    step: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    clipped_steps: int = 0
    data_digest: str = ""
    validated_step: int = -1
    validation_loss: float | None = None
    train_seconds: float = 0.0
    wall_seconds: float = 0.0


class NonFinite(ArithmeticError):
    """A loss, gradient or weight that is not a number: it must not reach a checkpoint."""


def write_weights(
    directory: Path, *, model: nn.Module, tensors: dict[str, Tensor] | None = None
) -> None:
    """One file of weights whatever its size. tensors: the weights, where the model itself holds
    only its share of them.

    Raises NonFinite: an update of finite gradients can overflow, and the last step has no next loss
    to show it.
    """
    weights = model.state_dict() if tensors is None else tensors
    for name, value in weights.items():
        if not bool(value.isfinite().all()):
            raise NonFinite(f"the weights {name!r} hold a number that is not finite")
    kept = {name: value.detach().contiguous() for name, value in weights.items()}
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})


def write_tensors(file: Path, *, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: value.detach().contiguous() for name, value in tensors.items()}, file)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Raises ValueError that names a file which is not safetensors, a pickle for example."""
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is not a safetensors file: {error}") from error


def write_state(directory: Path, *, run: str, progress: Progress) -> None:
    """state.json: progress, and the state of torch's generators.

    Dropout is seeded by step, so the generators decide nothing today; they are kept so that code
    which draws from them one day resumes as well.
    """
    content = {
        "format": FORMAT,
        "run": run,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "progress": asdict(progress),
        "random": {"cpu": _encoded(torch.get_rng_state())}
        | {
            f"cuda:{index}": _encoded(state)
            for index, state in enumerate(
                torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
            )
        },
    }
    (directory / "state.json").write_text(json.dumps(content, indent=1) + "\n")


def read_state(directory: Path, *, run: str) -> Progress:
    """The progress, after setting the generators. Raises ValueError for another run's."""
    file = directory / "state.json"
    content: dict[str, Any] = json.loads(file.read_text())
    if content.get("format") != FORMAT:
        raise ValueError(f"{file}: format {content.get('format')!r}; legal: {FORMAT}")
    if content["run"] != run:
        raise ValueError(f"{file} belongs to run {content['run'][:12]}; legal: {run[:12]}")
    legal = {each.name for each in fields(Progress)}
    if set(content["progress"]) != legal:
        raise ValueError(
            f"{file}: progress has {sorted(content['progress'])}; legal: {sorted(legal)}"
        )
    for device, state in content["random"].items():
        if device == "cpu":
            torch.set_rng_state(_decoded(state))
        elif torch.cuda.is_available() and int(device.split(":")[1]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(_decoded(state), device)
    return Progress(**content["progress"])


def load_weights(model: nn.Module, *, tensors: Mapping[str, Tensor]) -> None:
    """Copy weights into a built model, in place: every tensor accounted for, names tied to one
    tensor stored once. Raises ValueError naming what is missing, unknown or misshaped.
    """
    tied: dict[int, list[str]] = {}
    state = model.state_dict()
    for name, value in state.items():
        tied.setdefault(value.data_ptr() if value.numel() else id(value), []).append(name)
    missing = [names[0] for names in tied.values() if not any(name in tensors for name in names)]
    unknown = sorted(set(tensors) - set(state))
    wrong = [
        f"{name} {tuple(value.shape)} {value.dtype}"
        for name, value in tensors.items()
        if name in state and (value.shape != state[name].shape or value.dtype != state[name].dtype)
    ]
    if missing or unknown or wrong:
        raise ValueError(
            f"weights do not fit the model: missing {missing[:5]}, unknown {unknown[:5]}, "
            f"wrong shape or type {wrong[:5]}"
        )
    with torch.no_grad():
        for name, value in tensors.items():
            state[name].copy_(value)


def _encoded(state: Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _decoded(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
