"""wandb as a mirror of events.jsonl: never needed, never trusted with secrets, never in the way.

`off` imports nothing. `offline` writes below the run's own directory; `online` sends the same. What
is sent is the run's canonical form and its metrics; host details, console output, code and
environment are switched off, and keys stay in the environment, where wandb itself looks for them.
wandb's own telemetry, which it sends offline as well, is off unless WANDB_ERROR_REPORTING asks.
The mirror begins with the first step, so that nothing of it comes before training.
Any failure ends the mirror with one line, and training goes on; a network that says nothing is
waited for once at each end, `WAIT_SECONDS` at most.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from study.runs.identity import canonical
from study.runs.node import Trained
from study.store.redaction import redact, redacted

MIRRORED = ("loss", "learning_rate", "grad_norm", "clipped_fraction", "tokens_per_second", "mfu")
WAIT_SECONDS = 30.0
"""wandb itself waits 90 seconds for a beginning and for ever for an end."""


class Mirror:
    """Where metrics go as well. No method raises anything, and none waits long."""

    def __init__(
        self,
        run: Trained,
        *,
        mode: Literal["off", "offline", "online"],
        directory: Path,
        warn: Callable[[str], None],
    ) -> None:
        self._warn = warn
        self._session: Any = None
        self._waiting: list[tuple[dict[str, Any], int]] = []
        self._begin: Callable[[], None] | None = None
        if mode != "off":
            self._begin = lambda: self._start(run, mode, directory)

    def _start(self, run: Trained, mode: Literal["offline", "online"], directory: Path) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        (directory / "wandb").mkdir(exist_ok=True)
        self._session = wandb.init(
            project="archstudy",
            id=run.id[:16],
            name=run.slug,
            # A resumed run goes on under its id; its superseded steps stay in the mirror, which
            # takes no step twice. events.jsonl is the truth.
            resume="allow" if mode == "online" else None,
            mode=mode,
            dir=str(directory),
            config=redacted(canonical(run)),
            settings=wandb.Settings(
                console="off",
                init_timeout=WAIT_SECONDS,
                finish_timeout=WAIT_SECONDS,
                silent=True,
                save_code=False,
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
            ),
        )

    def log(self, event: str, fields: dict[str, Any]) -> None:
        if self._begin is None and self._session is None:
            return
        numbers = {
            f"{event}/{name}": fields[name] for name in MIRRORED if fields.get(name) is not None
        }
        self._waiting.append((numbers, fields["step"]))
        if event == "step" or self._session is not None:
            self._guarded(self._send)

    def close(self) -> None:
        if self._waiting:
            self._guarded(self._send)
        self._begin = None
        if self._session is not None:
            session, self._session = self._session, None
            self._guarded(session.finish)

    def _send(self) -> None:
        begin, self._begin = self._begin, None
        logged, self._waiting = self._waiting, []
        if begin is not None:
            begin()
        for numbers, step in logged:
            self._session.log(numbers, step=step)

    def _guarded(self, action: Callable[[], Any]) -> None:
        # Whatever a logging service raises (network, disk, its own bugs, a missing key) is none of
        # training's business; a signal is no Exception and passes.
        try:
            action()
        except Exception as error:
            self._session = None
            with contextlib.suppress(OSError):
                self._warn(redact(f"wandb stopped mirroring ({type(error).__name__}: {error})"))
