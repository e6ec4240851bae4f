"""The commands that speak to SLURM: launch, explain, retry, cancel. `study.cli` registers them.

Owns what is typed; each import stands inside the command that needs it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from study.commands.options import DEFAULT_STORE, AsJson, DataDir, StoreAt, Target, ends_clearly

AllowDirty = Annotated[
    bool, typer.Option("--allow-dirty", help="Archive uncommitted changes and record it.")
]


@ends_clearly
def explain(target: Target, store: StoreAt = DEFAULT_STORE, json: AsJson = False):
    """Show why one run is in its state: files, lease, SLURM's view, parents, logs."""
    from study.launch.cluster import explain
    from study.runs import plan
    from study.store.directory import Store

    found = explain.explain(plan.load(target), store=Store(store))
    explain.show(found, as_json=json)


@ends_clearly
def launch(
    target: Target,
    cluster: Annotated[
        str, typer.Option("--cluster", help="A profile: its name, or a TOML file's path.")
    ],
    store: StoreAt = DEFAULT_STORE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write all scripts and submit nothing.")
    ] = False,
    allow_dirty: AllowDirty = False,
    data_dir: DataDir = None,
    json: AsJson = False,
):
    """Submit what is not done to SLURM, and exit."""
    from study.launch.cluster import launch, profile, summary
    from study.launch.cluster.slurm import Slurm
    from study.runs import plan
    from study.store import declared
    from study.store.directory import Store

    request = launch.LaunchRequest(
        sweep=plan.load(target),
        store=Store(store.resolve()),
        profile=profile.load(profile.find(cluster)).with_data_dirs(data_dir or ()),
        changes="archive" if allow_dirty else "refuse",
    )
    if dry_run:
        launched = launch.dry_run(request)
    else:
        declared.record_claims(request.sweep, store=request.store)
        launched = launch.launch(request, slurm=Slurm())
    summary.show(launched, as_json=json)


@ends_clearly
def retry(
    target: Target,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="A profile [default: as submitted before]")
    ] = None,
    store: StoreAt = DEFAULT_STORE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be submitted, and why.")
    ] = False,
    allow_dirty: AllowDirty = False,
    data_dir: DataDir = None,
):
    """Submit what failed in SLURM again, with what SLURM cancelled for it; nothing else."""
    from study.launch.cluster import profile, retry, summary
    from study.launch.cluster.slurm import Slurm
    from study.launch.cluster.view import SHORT_WAIT
    from study.runs import plan
    from study.store.directory import Store

    path, slug = plan.split_target(target)
    sweep, at = plan.load(str(path)), Store(store.resolve())
    chosen = retry.choose(sweep, slug=slug, store=at, slurm=SHORT_WAIT)
    if not chosen:
        print("nothing to retry: no job has failed")
        return
    retry.show(chosen)
    if dry_run:
        return
    found = profile.find(cluster or retry.profile_name(chosen))
    request = retry.LaunchRequest(
        sweep=sweep.only([each.run for each in chosen]),
        store=at,
        profile=profile.load(found).with_data_dirs(data_dir or ()),
        changes="archive" if allow_dirty else "refuse",
        failed="submit",
    )
    summary.show(retry.submit(request, again=chosen, slurm=Slurm()), as_json=False)


@ends_clearly
def cancel(target: Target, store: StoreAt = DEFAULT_STORE):
    """Cancel a sweep's jobs in SLURM, or those of one run and of what needs it. Files stay."""
    from study.launch.cluster import choose
    from study.launch.cluster.view import SHORT_WAIT
    from study.runs import plan
    from study.store.directory import Store

    path, slug = plan.split_target(target)
    sweep = plan.load(str(path))
    runs = choose.named(sweep.runs, run=sweep.run(slug) if slug else None)
    found = choose.cancel(runs, every=sweep.runs, store=Store(store), slurm=SHORT_WAIT)
    for each in found:
        print(f"cancelled  {each.slug}  job {each.job} (was {each.was})")
    print(f"{len(found)} jobs cancelled" if found else "nothing is queued or at work in SLURM")
