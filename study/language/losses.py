"""The losses of a batch of text: cross-entropy and z-term at loss positions.

Owns where logits are computed, and in which precision. Axes: B rows, T positions, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from study.language.huggingface.config_file import write_config
from study.language.layout import Batch
from study.language.model.language_model import LanguageModel
from study.nn.loss import linear_cross_entropy
from study.runs.training import Training
from study.train.learner import Losses


class TokenLosses:
    """A language model and its losses (`study.train.learner.Computation`)."""

    def __init__(self, model: LanguageModel, *, training: Training) -> None:
        self.model = model
        self.width = model.shape.d_model
        self._training = training
        self._hidden: Callable[[Batch], torch.Tensor] = model.hidden
        self._compiled: Callable[[Any], Any] | None = None

    def compile(self, wrap: Callable[[Any], Any]) -> None:
        """wrap: the model's `hidden`, and the work on a block of logits."""
        self._hidden, self._compiled = wrap(self.model.hidden), wrap

    def losses(self, batch: Batch, *, device: torch.device) -> Losses:
        places = batch.loss_mask.flatten().nonzero()[:, 0]
        whole = places.numel() == batch.loss_mask.numel()
        if device.type != "cpu":
            batch, places = batch.to(device), places.to(device)
        # A weight is used once in a pass, so keeping its rounded copy would cost memory alone.
        autocast = torch.autocast(
            device.type,
            dtype=torch.bfloat16,
            enabled=self._training.precision == "bfloat16_autocast",
            cache_enabled=False,
        )
        with autocast:
            states = self._hidden(batch).flatten(0, 1)  # (B T, D)
            labels = batch.labels.flatten()
            if not whole:
                # The vocabulary matrix is read at loss positions only. Not states[mask]: the
                # backward pass of a mask is a serial scatter, that of index_select an addition.
                states, labels = states.index_select(0, places), labels.index_select(0, places)
            found = linear_cross_entropy(
                *self.model.read_out(states),
                labels,
                z_loss=self._training.z_loss,
                compiled=self._compiled,
            )
        return Losses(
            total=found.total, parts={"loss": found.cross_entropy, "z_loss": found.z_term}
        )

    def write(self, directory: Path) -> None:
        """config.json, as transformers reads it."""
        write_config(directory, model=self.model)
