"""Commands that bring data and pin it: pin and fetch."""

from __future__ import annotations

from study.commands.options import (
    AsJson,
    Cache,
    DataDir,
    Target,
    ends_clearly,
    execution_of,
)


@ends_clearly
def pin(target: Target, data_dir: DataDir = None, json: AsJson = False):
    """Fill what a sweep's pin file lacks: commits asked of the hub, digests of files read."""
    from study.commands import tables
    from study.runs import plan
    from study.sources import pins
    from study.store.publish import sha256

    sweep = plan.load(target)
    known = getattr(sweep.module, "PINS", None)
    if not isinstance(known, pins.Pins):
        raise ValueError(
            f"{sweep.path} has no pins; legal: PINS = study.sources.pins.load(FILE) in it"
        )

    def digest(name: str) -> str:
        places = [folder / name for folder in data_dir or ()]
        found = next((each for each in places if each.exists()), None)
        if found is None:
            listed = ", ".join(map(str, places)) or "no --data-dir was given"
            raise ValueError(f"no such file or directory (looked at: {listed})")
        if found.is_file():
            return sha256(found)
        from study.language.scores.subjects import directory_digest

        return directory_digest(found)

    holes = pins.wanted(sweep.runs, known)
    names = (*pins.unpinned(sweep.runs), *holes)
    done = pins.pin(known, names, commit=pins.hub_commit, sha256=digest)
    tables.show_pins(done, path=known.path, as_json=json)
    # what a suite can do without stays a hole
    return 2 if any(each.problem and each.name not in holes for each in done) else 0


@ends_clearly
def fetch(
    target: Target,
    data_dir: DataDir = None,
    cache: Cache = None,
):
    """Bring every source of a sweep here, for machines without a network."""
    from study.launch import ready
    from study.runs import plan
    from study.sources import fetch
    from study.sources.content import Access

    execution = execution_of(data_dir, cache)
    access = Access(data_dirs=execution.data_dirs, cache=execution.cache)
    sweep = plan.load(target)
    ready.refuse_unpinned(sweep, sweep.runs)
    count = fetch.fetch(sweep.runs, access=access, say=print)
    print(f"{count} sources are here")
