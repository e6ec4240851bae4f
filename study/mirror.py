"""wandb as a mirror of events.jsonl: never needed, never trusted with secrets, never in the way.

`off` imports nothing. `offline` writes below the run's own directory; `online` sends the same. What
is sent is the run's canonical form and its metrics; host details, console output, code and
environment are switched off, and keys stay in the environment, where wandb itself looks for them.
wandb's own telemetry, which it sends offline as well, is off unless WANDB_ERROR_REPORTING asks.

All of wandb happens in a thread of the mirror's own, from the first step on and in the order of the
calls: training waits for neither its import nor its network. Any failure ends the mirror with one
line, and training goes on; only the end waits, for `WAIT_SECONDS` a side at most.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from study.redaction import redact, redacted
from study.run import Trained, canonical, run_id

MIRRORED = ("loss", "learning_rate", "grad_norm", "clipped_fraction", "tokens_per_second", "mfu")
WAIT_SECONDS = 30.0
"""wandb itself waits 90 seconds for a beginning and for ever for an end."""


class Mirror:
    """Where metrics go as well. No method raises anything, and only `close` waits."""

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
        self._failures: deque[str] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Callable[[], Any]] = deque()
        self._open = mode != "off"
        if mode != "off":
            self._waiting.append(lambda: self._start(run, mode, directory))

    def _start(self, run: Trained, mode: Literal["offline", "online"], directory: Path) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        (directory / "wandb").mkdir(exist_ok=True)
        self._session = wandb.init(
            project="archstudy",
            id=run_id(run)[:16],
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
        if not self._open:
            return
        numbers = {
            f"{event}/{name}": fields[name] for name in MIRRORED if fields.get(name) is not None
        }
        step = fields["step"]
        self._waiting.append(lambda: self._send(numbers, step))
        # Not before the first step: the interpreter runs one thread at a time, and an import of a
        # second would come before that step after all.
        if event == "step":
            self._hand_over()
        self._tell()

    def close(self) -> None:
        logged = self._thread is not None or len(self._waiting) > 1
        if self._open and logged:
            self._waiting.append(self._finish)
            self._hand_over().shutdown()
            self._tell()
        self._open = False

    def _hand_over(self) -> ThreadPoolExecutor:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mirror")
        while self._waiting:
            self._thread.submit(self._guarded, self._waiting.popleft())
        return self._thread

    def _send(self, numbers: dict[str, Any], step: int) -> None:
        if self._session is not None:
            self._session.log(numbers, step=step)

    def _finish(self) -> None:
        if self._session is not None:
            self._session.finish()

    def _guarded(self, action: Callable[[], Any]) -> None:
        # Whatever a logging service raises (network, disk, its own bugs, a missing key) is none of
        # training's business.
        try:
            action()
        except Exception as error:
            self._session = None
            self._failures.append(
                redact(f"wandb stopped mirroring ({type(error).__name__}: {error})")
            )

    def _tell(self) -> None:
        """In the caller's thread, whose terminal and pipe it is."""
        while self._failures:
            with contextlib.suppress(OSError):
                self._warn(self._failures.popleft())
