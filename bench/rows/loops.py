"""The two training loops: this project's and Hugging Face's Trainer, a turn of steps at a time.

Both read the same rows of the same run, in bfloat16 autocast under fused AdamW, clipped at 1.0, and
each does in a step all that it does for its users: batches, loss, update, log. Rates are of content
tokens, whoever pads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import set_seed

from study.language.layout import Batch
from study.language.learner import Batches
from study.language.losses import TokenLosses
from study.language.model.build import LanguageModel, build
from study.language.values.stages import Stage, model_of
from study.store.events import EventLog
from study.train.checkpoint import Progress
from study.train.engine import TorchEngine
from study.train.loop import Plan, train
from study.train.signals import Stop

FIRST = 2
"""Steps of a turn that do not count."""


@dataclass(kw_only=True, eq=False)
class _Callbacks:
    """When each step ended, and its line in the log."""

    log: EventLog
    stop: Stop = field(default_factory=Stop)
    ended: list[float] = field(default_factory=list)

    def step(self, event: dict[str, Any]) -> None:
        self.log.write("step", **event)
        self.ended.append(time.perf_counter())

    def validation(self, event: dict[str, Any]) -> None:
        """There is none."""

    def save(self, progress: Progress) -> None:
        raise AssertionError("a turn is shorter than the time between checkpoints")


class OurLoop:
    """`study.train.loop.train` on a run's own batches, without saves and validation."""

    def __init__(
        self,
        run: Stage,
        batches: Batches,
        *,
        folder: Path,
        compiled: Callable[[Any], Any] | None = None,
    ) -> None:
        self.run = run
        self.batches = batches
        self.model: LanguageModel = build(model_of(run), dropout=0.0, seed=0)
        computed = TokenLosses(self.model, training=run.training)
        if compiled:
            computed.compile(compiled)
        self.engine = TorchEngine(computed, training=run.training)
        self._callbacks = _Callbacks(log=EventLog(folder / "events.jsonl"))
        self._progress = Progress()

    @property
    def parameters(self) -> int:
        return sum(each.numel() for each in self.model.parameters())

    def turn(self, steps: int) -> float:
        """Content tokens a second over `steps` steps."""
        first = self._progress.step
        self._callbacks.ended.clear()
        plan = Plan(
            training=self.run.training,
            seed=0,
            first_step=0,
            schedule_before=0,
            last=first + FIRST + steps,
            validate_at=frozenset(),
            keep=frozenset(),
            checkpoint_seconds=1e9,
            micro_batch=None,
        )
        before: list[int] = []
        self._progress = train(
            self.engine,
            batches=_Counted(self.batches, before),
            validation=(),
            plan=plan,
            progress=self._progress,
            callbacks=self._callbacks,
        )
        ended = self._callbacks.ended
        return sum(before[FIRST:]) / (ended[-1] - ended[FIRST - 1])


@dataclass(frozen=True, eq=False)
class _Counted:
    source: Batches
    tokens: list[int]

    def batch(self, step: int) -> Batch:
        batch = self.source.batch(step)
        self.tokens.append(batch.content_tokens)
        return batch


class _Ends(TrainerCallback):
    def __init__(self) -> None:
        self.ended: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ended.append(time.perf_counter())


class TrainerLoop:
    """Hugging Face's Trainer with its defaults, in bfloat16, on rows in their given order."""

    def __init__(
        self,
        model: torch.nn.Module,
        rows: Sequence[dict[str, Any]],
        *,
        batch_size: int,
        content: Callable[[dict[str, Any]], int],
        folder: Path,
        collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        compiled: bool = False,
    ) -> None:
        """rows: enough for every turn. content: tokens of a row, padding left out."""
        set_seed(0)
        self.model = model
        self._rows, self._size, self._content = rows, batch_size, content
        self._folder, self._collator, self._compiled = folder, collator, compiled
        self._trainer: Trainer | None = None
        self._ends = _Ends()

    @property
    def parameters(self) -> int:
        return sum(each.numel() for each in self.model.parameters())

    def turn(self, steps: int) -> float:
        """Content tokens a second over `steps` steps; a turn begins again with the first rows."""
        trainer = self._trainer_of(steps)
        self._ends.ended.clear()
        trainer.train()
        counted = self._rows[FIRST * self._size : (FIRST + steps) * self._size]
        ended = self._ends.ended
        return sum(map(self._content, counted)) / (ended[-1] - ended[FIRST - 1])

    def _trainer_of(self, steps: int) -> Trainer:
        needed = (FIRST + steps) * self._size
        if len(self._rows) < needed:
            raise ValueError(f"{len(self._rows)} rows for the Trainer; legal: {needed} or more")
        rows: Any = self._rows[:needed]  # any sequence will do, which its type does not say
        if self._trainer is None:
            self._trainer = Trainer(
                model=self.model,
                args=TrainingArguments(
                    output_dir=str(self._folder / "trainer"),
                    per_device_train_batch_size=self._size,
                    max_steps=FIRST + steps,
                    learning_rate=1e-3,
                    bf16=True,
                    use_cpu=True,
                    save_strategy="no",
                    report_to=[],
                    disable_tqdm=True,
                    torch_compile=self._compiled,
                    train_sampling_strategy="sequential",
                ),
                train_dataset=rows,
                data_collator=self._collator,
                callbacks=[self._ends],
            )
        return self._trainer
