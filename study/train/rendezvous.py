"""How the ranks of one run find each other, without ports or addresses given by anybody.

Owns the way from a shared directory to a process group: rank 0 lets the system choose a port and
writes it with its addresses into the directory; the others read that and try each address. A token
tells a fresh file from an old one, and this rank 0 from whoever has its port now. torch's part of
it is a `TCPStore`, which serves as message board for `study.train.ranks.Alarm` afterwards.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.store.publish import publish_file
from study.train.ranks import GRACE_SECONDS, Alarm, Place, Ranks, ending_together

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

SECONDS = 300.0
TRY_SECONDS = 3.0
COLLECTIVE_SECONDS = 3600.0
"""How long a collective may wait: longer than the slowest save. A lost rank is heard of sooner, by
its closed connection or by the alarm.
"""


class RendezvousError(RuntimeError):
    """The ranks did not come together. The message names who, where and for how long."""


@contextmanager
def join(
    place: Place,
    *,
    directory: Path,
    device: str,
    check: Callable[[Alarm | None], None] = lambda _: None,
    last_words: Callable[[str], None] = lambda _: None,
) -> Iterator[Ranks]:
    """The process group of all ranks, inside the block; whoever fails in it ends all.

    device: `cpu` (gloo) or `cuda` (NCCL, this rank's card by its local rank). check: called while
    waiting, and once with the alarm when all are there; may raise. last_words: given the reason
    where this rank hangs while another fails, just before it ends.
    """
    if place.world == 1:
        with _group(place, _lonely_store(), device=device) as ranks:
            yield ranks
        return
    seconds = float(os.environ.get("STUDY_RENDEZVOUS_SECONDS", SECONDS))
    deadline = time.monotonic() + seconds
    file = directory / _file_name()
    if place.rank == 0:
        directory.mkdir(parents=True, exist_ok=True)
        store = _serve(file, place=place, deadline=deadline, seconds=seconds, check=check)
    else:
        store = _connect(file, place=place, deadline=deadline, seconds=seconds, check=check)
    alarm = Alarm(_again(store), place=place, last_words=last_words)
    try:
        with ExitStack() as stack:
            with ending_together(alarm):
                check(alarm)
                ranks = stack.enter_context(_group(place, store, device=device))
            with ending_together(alarm):
                yield ranks
            alarm.leave()
            with suppress(RuntimeError):  # a rank that dies now has done all that it had to
                ranks.barrier()  # rank 0 serves the store until all have left it
    finally:
        alarm.leave()
        if place.rank == 0:
            file.unlink(missing_ok=True)


def _again(store: TCPStore) -> TCPStore:
    """A connection of its own to the same store."""
    return type(store)(store.host, store.port, is_master=False)


def _file_name(environ: Mapping[str, str] = os.environ) -> str:
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")
    return "-".join(["rendezvous", *(environ.get(name, "0") for name in names)]) + ".json"


def _lonely_store() -> Any:
    from torch._C._distributed_c10d import HashStore

    return HashStore()


def _serve(
    file: Path,
    *,
    place: Place,
    deadline: float,
    seconds: float,
    check: Callable[[Alarm | None], None],
) -> TCPStore:
    from torch._C._distributed_c10d import TCPStore

    token = uuid.uuid4().hex
    # Our own connection goes to the loopback: the name of this host may not be resolvable.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    store.set("token", token)
    found = addresses()
    content = {"token": token, "host": platform.node(), "port": store.port, "addresses": found}
    publish_file(file, json.dumps(content).encode())
    missing = set(range(1, place.world))
    while missing:
        check(None)
        missing = {rank for rank in missing if not store.check([f"here/{rank}"])}
        if missing and time.monotonic() > deadline:
            raise RendezvousError(
                f"rank {', '.join(map(str, sorted(missing)))} of {place.world} did not join within "
                f"{seconds:.0f} s; rank 0 waits on {platform.node()}, port {store.port}, addresses "
                f"{', '.join(found)}, written to {file}"
            )
        if missing:
            time.sleep(0.05)
    used = [store.get(f"here/{rank}").decode() for rank in range(1, place.world)]
    with suppress(ValueError):  # all on this machine: gloo's own choice will do
        _bind_gloo(next(one for one in used if not one.startswith("127.")))
    store.set("go", "1")
    return store


def _connect(
    file: Path,
    *,
    place: Place,
    deadline: float,
    seconds: float,
    check: Callable[[Alarm | None], None],
) -> TCPStore:
    tried: list[str] = []
    while True:
        check(None)
        with suppress(FileNotFoundError, ValueError, KeyError, OSError):
            content = json.loads(file.read_bytes())
            for address in content["addresses"]:
                tried = list(dict.fromkeys([*tried, f"{address} port {content['port']}"]))
                store = _try(address, content["port"], token=content["token"])
                if store is not None:
                    return _announce(store, address, place=place, deadline=deadline, check=check)
        if time.monotonic() > deadline:
            where = ", ".join(tried) or f"none, since {file} was not there"
            raise RendezvousError(
                f"rank {place.rank} of {place.world} on {platform.node()} did not reach rank 0 "
                f"within {seconds:.0f} s; addresses tried: {where}"
            )
        time.sleep(0.1)


def _try(address: str, port: int, *, token: str) -> TCPStore | None:
    """The store at this address, or None where another program answers, or nobody."""
    from torch._C._distributed_c10d import TCPStore

    try:
        # A plain connection first: its refusal is silent and its time limit holds.
        socket.create_connection((address, port), timeout=TRY_SECONDS).close()
        limit = datetime.timedelta(seconds=TRY_SECONDS)
        store = TCPStore(address, port, is_master=False, timeout=limit)
        if store.get("token").decode() != token:
            return None
    except (OSError, RuntimeError):
        return None
    return store


def _announce(
    store: TCPStore,
    address: str,
    *,
    place: Place,
    deadline: float,
    check: Callable[[Alarm | None], None],
) -> TCPStore:
    if not address.startswith("127."):
        with suppress(OSError), socket.create_connection((address, store.port), TRY_SECONDS) as one:
            _bind_gloo(one.getsockname()[0])
    store.set(f"here/{place.rank}", address)
    while not store.check(["go"]):
        check(None)
        if time.monotonic() > deadline:
            raise RendezvousError(
                f"rank {place.rank} of {place.world} on {platform.node()} reached rank 0 at "
                f"{address}, port {store.port}, and then waited in vain for the other ranks"
            )
        time.sleep(0.05)
    store.set_timeout(datetime.timedelta(seconds=COLLECTIVE_SECONDS))
    return store


def addresses() -> list[str]:
    """IPv4 addresses of this machine, likely ones first and the loopback last; never a name, which
    another machine may resolve otherwise or not at all.
    """
    import psutil

    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        each.address
        for name, owned in psutil.net_if_addrs().items()
        for each in owned
        if each.family == socket.AF_INET and name in up
    ]
    with suppress(OSError):
        named = socket.gethostbyname(platform.node())
        found.sort(key=lambda address: address != named)
    return sorted(dict.fromkeys([*found, "127.0.0.1"]), key=lambda one: one.startswith("127."))


def _bind_gloo(address: str) -> None:
    """Let gloo use the interface of this address: by itself it takes the one of the host's name,
    which on some machines is the loopback.
    """
    import psutil

    for name, owned in psutil.net_if_addrs().items():
        if any(each.address == address for each in owned):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


@contextmanager
def _group(place: Place, store: Any, *, device: str) -> Iterator[Ranks]:
    import torch
    from torch import distributed

    local: dict[str, Any] = {}
    if device.startswith("cuda"):
        device = f"cuda:{place.local_rank}" if device == "cuda" else device
        torch.cuda.set_device(device)
        local["device_id"] = torch.device(device)
    # DeepSpeed asks for them even where the group stands already.
    ours = {"RANK": place.rank, "WORLD_SIZE": place.world, "LOCAL_RANK": place.local_rank}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update({name: str(value) for name, value in ours.items()})
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if local else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.world,
        timeout=datetime.timedelta(seconds=COLLECTIVE_SECONDS),
        **local,
    )
    try:
        yield Ranks(place=place, device=device)
    finally:
        _destroy_group()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _destroy_group() -> None:
    """Leave the group, DeepSpeed's references to it included. After a failure that can hang, and a
    process that can't leave one group can't join another.
    """
    leaving = threading.Thread(target=_destroy, daemon=True)
    leaving.start()
    leaving.join(GRACE_SECONDS)
    if leaving.is_alive():
        print("the process group can't be left; this process ends", file=sys.stderr, flush=True)
        os._exit(1)


def _destroy() -> None:
    from torch import distributed

    communication: Any = sys.modules.get("deepspeed.comm.comm")
    if communication is not None and communication.cdb is not None:
        communication.destroy_process_group()
        communication.cdb = None
    elif distributed.is_initialized():
        distributed.destroy_process_group()
