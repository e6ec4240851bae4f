"""What a user waits for at the command line: whole processes, from their start to their end."""

from __future__ import annotations

import operator
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.row import Bench, Finding
from study.language.values.corpus import Corpus
from study.runs.execution import Execution
from study.runs.node import Run
from study.runs.plan import children, close, load_sweep
from study.store.directory import Store
from study.train.work import execute

ROOT = Path(__file__).parents[2]
STUDY = Path(sys.executable).with_name("study")
DEMO = ROOT / "sweeps" / "demo.py"
POLL = 0.02
"""Seconds between two looks at what a process has reached."""

SWEEP = f"""
from dataclasses import replace
from pathlib import Path
from study.runs.plan import load_sweep
from study.language.recipes.tree import Study

demo = load_sweep(Path({str(DEMO)!r})).module
RATES = demo.rates.load(Path({str(DEMO.with_name("demo_rates.json"))!r}))

def runs():
    for seed in range({{seeds}}):
        scale = replace(demo.microworld.SCALE, {{changes}})
        yield from Study(
            setting=demo.microworld.SETTING, scale=scale, rates=RATES, seed=seed
        ).runs()
"""
"""The demo's tree of 36 runs a seed, with other steps."""
BARE = """
import torch
from torch.nn import functional
torch.set_num_threads(1)
torch.manual_seed(0)
width, vocabulary = 96, 656
layer = torch.nn.TransformerEncoderLayer(width, 4, 256, batch_first=True, norm_first=True)
model = torch.nn.Sequential(
    torch.nn.Embedding(vocabulary, width),
    torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False),
    torch.nn.Linear(width, vocabulary),
)
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
tokens = torch.randint(0, vocabulary, (8, 129))
functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
optimizer.step()
print("stepped", flush=True)
"""


def seconds(command: Sequence[str | Path], *, cwd: Path) -> float:
    """Of a whole process, which must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - begun
    _succeeded(command, done.returncode, done.stdout + done.stderr)
    return took


def _succeeded(command: Sequence[str | Path], code: int, said: str) -> None:
    if code:
        raise RuntimeError(f"{command[:3]} ended with {code}: {said[-1000:]}")


def _repeated(command: Sequence[str | Path], bench: Bench) -> Finding:
    return bench.alone(lambda: seconds(command, cwd=bench.folder), unit="s")


def demo_runs(count: int) -> list[Run]:
    """The demo's runs over as many seeds as give `count` of them."""
    demo: Any = load_sweep(DEMO).module
    found: list[Run] = []
    chosen = demo.rates.load(DEMO.with_name("demo_rates.json"))
    for seed in range(count):
        if len(found) >= count:
            break
        study = demo.Study(
            setting=demo.microworld.SETTING, scale=demo.microworld.SCALE, rates=chosen, seed=seed
        )
        found += close(study.runs())
    return found[:count]


def plan(bench: Bench) -> Finding:
    (bench.folder / "large.py").write_text(SWEEP.format(seeds=278, changes=""))
    return _repeated([STUDY, "plan", "large.py", "--json"], bench)


def help_page(bench: Bench) -> Finding:
    return _repeated([STUDY, "--help"], bench)


def small_demo(folder: Path, *, pretrain: int, adapt: int, finetune: int) -> Path:
    """The demo's tree with as many steps."""
    path = folder / "small.py"
    changes = f"pretrain_steps={pretrain}, adapt_steps={adapt}, finetune_steps={finetune}"
    path.write_text(SWEEP.format(seeds=1, changes=changes))
    return path


def null_run(bench: Bench) -> Finding:
    """The demo's 36 runs, complete, asked for again."""
    small_demo(bench.folder, pretrain=2, adapt=1, finetune=1)
    return _repeated([STUDY, "run", "small.py"], bench)


def until(command: Sequence[str | Path], reached: Callable[[str], bool], *, cwd: Path) -> float:
    """Seconds from a process's start until its output so far says so; it must succeed later."""
    begun = time.perf_counter()
    output, took = "", None
    with subprocess.Popen(
        [str(each) for each in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        while took is None:
            ended = process.poll() is not None
            output += (process.stdout.read() or b"").decode()
            if reached(output):
                took = time.perf_counter() - begun
            elif ended:
                raise RuntimeError(f"{command[:3]} ended early: {output[-500:]}")
            else:
                time.sleep(POLL)
        os.set_blocking(process.stdout.fileno(), True)
        process.stdout.read()
    _succeeded(command, process.returncode, output)
    return took


def first_step(bench: Bench) -> Finding:
    """Until the event of a run's first step is in its file, beside a bare loop's first step."""
    sweep = small_demo(bench.folder, pretrain=1, adapt=1, finetune=1)
    (bench.folder / "bare.py").write_text(BARE)
    name = f"{sweep.name}:cd_flm-s0"

    def stepped(_: str) -> bool:
        files = (bench.folder / "runs").glob("cd_flm-s0--*/events.jsonl")
        return any('"event":"step"' in file.read_text() for file in files)

    def ours() -> float:
        for kept in (bench.folder / "runs").glob("cd_flm-s0--*"):
            shutil.rmtree(kept)
        return until([STUDY, "run", name], stepped, cwd=bench.folder)

    def bare() -> float:
        command = [sys.executable, "bare.py"]
        return until(command, lambda output: "stepped" in output, cwd=bench.folder)

    # the turn that does not count builds the corpora
    found = bench.beside(ours, bare, unit="s", by=operator.sub, into="s")
    inside = "Inside as well: the isolation test and a held-out loss before the step"
    return replace(found, notes=(inside,))


def sweep(bench: Bench, *, pretrain: int, adapt: int, finetune: int) -> Finding:
    """The tree with two workers, beside each of its leaves' paths alone, one after the other. Both
    find the corpora built: with this few steps they would be most of the time.
    """
    path = small_demo(bench.folder, pretrain=pretrain, adapt=adapt, finetune=finetune)
    loaded = load_sweep(path)
    below = children(loaded.runs)
    leaves = [run.slug for run in loaded.declared if not below[run.id]]
    corpora = Store(bench.folder / "corpora")
    for run in loaded.runs:
        if isinstance(run, Corpus):
            execute(run, store=corpora, execution=Execution(threads=bench.threads))

    def timed(name: str, target: str, *options: str) -> float:
        store = bench.folder / name
        shutil.copytree(corpora.root, store)
        command = [STUDY, "run", target, "--store", store, *options]
        try:
            return seconds(command, cwd=bench.folder)
        finally:
            shutil.rmtree(store)

    def together() -> float:
        return timed("tree", str(path), "--workers", "2")

    def apart() -> float:
        alone = ("--workers", "1", "--threads", "2")
        return sum(timed("alone", f"{path}:{slug}", *alone) for slug in leaves)

    # nine minutes a round: each turn is of new processes, and none warms the next
    found = bench.beside(together, apart, unit="s", untimed=0)
    said = f"{len(leaves)} leaves, {pretrain} steps of pretraining; both find corpora built"
    return replace(found, notes=(said,))
