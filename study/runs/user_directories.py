"""Where this user's caches and settings lie, also for a user without a home or a name.

Owns the XDG base directories (an absolute XDG_CACHE_HOME or XDG_CONFIG_HOME, else below the home)
and what stands in for a home that is missing or can't be written, as in a container under a uid
that no file names: a temporary directory of this uid's own. What is kept there is
`study.runs.execution` and `study.launch.cluster.profile`'s.
"""

from __future__ import annotations

import functools
import getpass
import os
import stat
import tempfile
from pathlib import Path


def cache_home() -> Path:
    """Where programs keep what can be fetched again."""
    return _named("XDG_CACHE_HOME") or _home() / ".cache"


def config_home() -> Path:
    """Where programs keep settings."""
    return _named("XDG_CONFIG_HOME") or _home() / ".config"


def furnish() -> None:
    """Give this process, and those that it starts, the variables of a home and a name where there
    is none: libraries crash otherwise, or write to a directory called `~`. None is overwritten.
    """
    try:
        getpass.getuser()  # Inductor's, for its cache's name
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
    if _found_home() is None:
        os.environ["HOME"] = str(temporary())
    for name, place in _libraries().items():
        if not os.environ.get(name) and not holds(place):
            os.environ[name] = str(temporary() / place.name)


def _libraries() -> dict[str, Path]:
    """Where each library that is used writes below the home, by the variable that it asks first."""
    return {
        "HF_HOME": cache_home() / "huggingface",
        "TORCH_HOME": cache_home() / "torch",
        "TORCH_EXTENSIONS_DIR": cache_home() / "torch_extensions",
        "TRITON_HOME": _home() / ".triton",
        "MPLCONFIGDIR": config_home() / "matplotlib",
        "WANDB_CACHE_DIR": cache_home() / "wandb-cache",
        "WANDB_CONFIG_DIR": config_home() / "wandb-config",
        "WANDB_DATA_DIR": _home() / ".local" / "share" / "wandb-data",
    }


def holds(directory: Path) -> bool:
    """Whether the directory is there, if only to be read, or can be made."""
    return os.path.isdir(directory) or _can_be_written(directory)


def is_temporary(path: Path) -> bool:
    """Whether the path lies in what stands in for a home."""
    return path.is_relative_to(Path(tempfile.gettempdir())) and path.is_relative_to(temporary())


@functools.cache
def temporary() -> Path:
    """A directory of this uid's own that outlives the process, so that a cache in it is one."""
    path = Path(tempfile.gettempdir()) / f"archstudy-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        # whoever made it first under a name that can be guessed may be somebody else
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if own and not found.st_mode & 0o022:
            return path
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="archstudy-"))


def _named(variable: str) -> Path | None:
    """XDG's specification: a path that is not absolute is ignored."""
    value = os.environ.get(variable, "")
    return Path(value) if os.path.isabs(value) else None


def _home() -> Path:
    return _found_home() or temporary()


def _found_home() -> Path | None:
    if os.environ.get("HOME") == "":  # which Python reads as /
        return None
    try:
        home = Path.home()
    except (RuntimeError, KeyError):
        return None
    return home if home.is_absolute() else None


def _can_be_written(directory: Path) -> bool:
    """Whether it may be made, or filled."""
    here = directory
    while not os.path.lexists(here):  # never raises, where Path.exists does without permission
        here = here.parent
    return os.path.isdir(here) and os.access(here, os.W_OK | os.X_OK)
