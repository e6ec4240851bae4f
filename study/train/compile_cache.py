"""What a compiler that was stopped left in Inductor's cache, taken out before it is trusted.

A cluster's signal ends the compiler and the linker of a job too, and they can leave a library of no
bytes. Inductor takes a file that is there for a finished one: every later start that needs it ends
in an ImportError, and where it is the one that asks what the processor can do, Inductor compiles
without vectors and says nothing. It builds NAME.so beside a directory NAME_CxxBuild, which it
removes at the end, so a directory that is left names what was not finished.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock, Timeout

_BUILDING = "_CxxBuild"


def remove_unfinished_builds() -> tuple[str, ...]:
    """Take out of Inductor's cache what was not finished; its names. What another process builds at
    this moment is locked by it, and left alone.
    """
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    cache, removed = Path(cache_dir()), []
    for directory in sorted(cache.glob(f"*/*{_BUILDING}")):
        name = directory.name.removesuffix(_BUILDING)
        key = name.split(".")[0]
        try:
            with FileLock(cache / "locks" / f"{key}.lock", timeout=0):
                for suffix in (".so", ".o", ".h.gch"):
                    directory.with_name(name + suffix).unlink(missing_ok=True)
                shutil.rmtree(directory, ignore_errors=True)
                removed.append(name)
        except Timeout:
            continue
    return tuple(removed)
