"""The processes that train one run together, and what they say to each other.

Owns `Ranks`: who this process is, agreement, rank 0's word, sums, and the end of all when one
fails. How they find each other is `study.train.rendezvous`'s; what they compute is
`study.train.sharded`'s. No torch until a group of several is joined.

A process is a rank of several if `STUDY_RENDEZVOUS` is set. It then needs

    STUDY_RENDEZVOUS           a directory that all ranks of this start see, such as one below the
                               run's own; made where it is missing
    RANK, WORLD_SIZE, LOCAL_RANK
                               or else SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, which srun sets
    STUDY_RENDEZVOUS_SECONDS   how long to wait for the others; 300 by default

and nothing else: no port, no address, no host list. SLURM_JOB_ID, SLURM_RESTART_COUNT and
SLURM_STEP_ID, where set, keep a requeued job apart from what its last start left behind. Gloo and
NCCL find their interfaces alone; GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME are respected.

Every rank runs the same command. Corpora and evaluations are rank 0's work, and the other ranks
return at once (under srun they need `--wait=0`, or a site's WaitTime would end rank 0 as well).

A rank that fails says why in the store that rank 0 serves, and ends. The others see it within a
second; what hangs five seconds later, in a collective or elsewhere, is ended with exit code 1, and
rank 0 notes that reason first. A rank that was interrupted is no failure: the others, whom the
same word reached, end in their own time.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from study.train.signals import Interrupted

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

FAILED = "failed"
POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0


class RankFailed(RuntimeError):
    """Another rank failed, and this one ended because of it. The message names rank and reason."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of how many processes this is. local_rank: among those of its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0


def place(environ: Mapping[str, str] = os.environ) -> Place | None:
    """The place that whoever started this process gave it; None for a process of its own."""
    if "STUDY_RENDEZVOUS" not in environ:
        return None
    for names in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    ):
        if names[0] not in environ:
            continue
        try:
            rank, world, local = (int(environ[name]) for name in names)
        except (KeyError, ValueError):
            found = ", ".join(f"{name}={environ.get(name)!r}" for name in names)
            raise ValueError(f"{found}; legal: three numbers") from None
        if not (0 <= rank < world and 0 <= local < world):
            raise ValueError(
                f"rank {rank} of {world}, local rank {local}; legal: ranks from 0 to {world - 1}"
            )
        return Place(rank=rank, world=world, local_rank=local)
    raise ValueError(
        "STUDY_RENDEZVOUS is set, and neither RANK nor SLURM_PROCID is; legal: one of them, with "
        "WORLD_SIZE and LOCAL_RANK or SLURM_NTASKS and SLURM_LOCALID"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranks:
    """This process among those that train one run. Every method is called by all ranks in the same
    order; for one process each returns what it was given.
    """

    place: Place = field(default_factory=Place)
    device: str = "cpu"

    @property
    def rank(self) -> int:
        return self.place.rank

    @property
    def world(self) -> int:
        return self.place.world

    @property
    def local_rank(self) -> int:
        return self.place.local_rank

    @property
    def first(self) -> bool:
        """Rank 0 alone holds the lease and writes events, checkpoint directories and seals."""
        return self.place.rank == 0

    def any(self, flag: bool) -> bool:
        """True on every rank if it is true on any."""
        return self.sum(float(flag))[0] > 0.0

    def broadcast(self, value: Any) -> Any:
        """Rank 0's JSON value, to all; what the others pass is not looked at."""
        if self.world == 1:
            return value
        import torch
        from torch import distributed

        text = json.dumps(value).encode() if self.first else b""
        length = torch.tensor([len(text)])
        distributed.broadcast(length, src=0)
        content = torch.zeros(int(length), dtype=torch.uint8)
        if self.first:
            content.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        distributed.broadcast(content, src=0)
        return json.loads(content.numpy().tobytes())

    def sum(self, *numbers: float) -> tuple[float, ...]:
        """Each number summed over the ranks, in float64."""
        if self.world == 1:
            return numbers
        import torch
        from torch import distributed

        total = torch.tensor(numbers, dtype=torch.float64)
        distributed.all_reduce(total)
        return tuple(total.tolist())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.sum(0.0)


def single_process() -> Ranks:
    """One process, without communication."""
    return Ranks()


class Alarm:
    """A thread that hears of another rank's failure while this one computes or waits.

    store: the alarm's own connection; a connection serves one call at a time. last_words: called
    with the reason before this process is ended, from another thread.
    """

    def __init__(
        self,
        store: TCPStore,
        *,
        place: Place,
        last_words: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._place = place
        self._last_words = last_words
        self._received = threading.Event()
        self._left = threading.Event()
        self._failure: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self._listen, name="ranks", daemon=True)
        self._thread.start()

    def tell(self, message: str, *, interrupted: bool = False, rank: int | None = None) -> None:
        """Say to all why this rank, or one that can't speak, failed; the first message stands."""
        who = self._place.rank if rank is None else rank
        failure = {"rank": who, "host": platform.node(), "message": message}
        text = json.dumps(failure | {"interrupted": interrupted})
        with suppress(RuntimeError):  # the store is gone with rank 0, which tells as much
            self._store.compare_set(FAILED, "", text)

    def wait(self, seconds: float) -> dict[str, Any] | None:
        """The failure of another rank, waited for that long."""
        self._received.wait(seconds)
        return self._failure

    def leave(self) -> None:
        self._left.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._left.wait(POLL_SECONDS):
            try:
                if not self._store.check([FAILED]):
                    continue
                failure = json.loads(self._store.get(FAILED))
            except RuntimeError:
                failure = {"rank": 0, "host": "", "message": "is gone", "interrupted": False}
            if failure["rank"] == self._place.rank:
                return
            self._failure = failure
            self._received.set()
            # Who is interrupted may be long about it: rank 0 publishes the checkpoint and waits for
            # its mirror when the others are gone. A broken collective ends by itself.
            if not failure["interrupted"] and not self._left.wait(GRACE_SECONDS):
                self._end(described(failure))
            return

    def _end(self, reason: str) -> None:
        # A file system that hangs may be why this rank does, so its words are not waited for long.
        words = threading.Thread(
            target=self._last_words, args=(f"{RankFailed.__name__}: {reason}",), daemon=True
        )
        words.start()
        words.join(GRACE_SECONDS)
        print(f"{reason}; this rank ends with it", file=sys.stderr, flush=True)
        os._exit(1)


def described(failure: dict[str, Any]) -> str:
    host = f" on {failure['host']}" if failure["host"] else ""
    return f"rank {failure['rank']}{host}: {failure['message']}"


@contextmanager
def ending_together(alarm: Alarm) -> Iterator[None]:
    """Tell the others of an exception inside the block, and turn what their end does to this rank
    (a closed connection, a broken collective) into their reason.
    """
    try:
        yield
    except BaseException as error:
        # torch raises RuntimeErrors where a peer is gone; its reason arrives within a poll or two.
        suspected = isinstance(error, RuntimeError) and not isinstance(error, Interrupted)
        failure = alarm.wait(4 * POLL_SECONDS if suspected else 0.0)
        if failure is None:
            alarm.tell(
                f"{type(error).__name__}: {error}",
                interrupted=isinstance(error, (Interrupted, KeyboardInterrupt)),
            )
            raise
        if not suspected:
            raise
        if failure["interrupted"]:
            raise Interrupted(f"another rank was told to stop ({described(failure)})") from error
        raise RankFailed(described(failure)) from error
