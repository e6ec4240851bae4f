"""What a user waits for at the command line: whole processes, from their start to their end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.finding import Figure, Finding
from bench.row import Bench
from study.plan import close, load_sweep
from study.run import Run

ROOT = Path(__file__).parents[2]
STUDY = Path(sys.executable).with_name("study")
DEMO = ROOT / "sweeps" / "demo.py"

LARGE = f"""
from dataclasses import replace
from pathlib import Path
from study.plan import load_sweep
from study.tree import Study

demo = load_sweep(Path({str(DEMO)!r})).module
RATES = Path({str(DEMO.with_name("demo_rates.json"))!r})

def runs():
    # 36 runs a seed
    for seed in range(278):
        yield from Study(
            setting=demo.microworld.SETTING, scale=demo.microworld.SCALE,
            rates=demo.rates.load(RATES), seed=seed,
        ).runs()
"""
SMALL = f"""
from dataclasses import replace
from pathlib import Path
from study.plan import load_sweep
from study.tree import Study

demo = load_sweep(Path({str(DEMO)!r})).module
RATES = Path({str(DEMO.with_name("demo_rates.json"))!r})
SCALE = replace(
    demo.microworld.SCALE, pretrain_steps={{pretrain}}, adapt_steps={{adapt}},
    finetune_steps={{finetune}},
)

def runs():
    return Study(
        setting=demo.microworld.SETTING, scale=SCALE,
        rates=demo.rates.load(RATES), seed=0,
    ).runs()
"""
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
"""


def seconds(command: Sequence[str | Path], *, cwd: Path) -> float:
    """Of a whole process, which must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{command[:3]} ended with {done.returncode}: {done.stderr[-500:]}")
    return took


def _repeated(command: Sequence[str | Path], bench: Bench) -> Finding:
    seconds(command, cwd=bench.folder)
    found = tuple(seconds(command, cwd=bench.folder) for _ in range(bench.rounds))
    return Finding(figure=Figure(values=found, unit="s"))


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
    (bench.folder / "large.py").write_text(LARGE)
    return _repeated([STUDY, "plan", "large.py", "--json"], bench)


def help_page(bench: Bench) -> Finding:
    return _repeated([STUDY, "--help"], bench)


def small_demo(folder: Path, *, pretrain: int, adapt: int, finetune: int) -> Path:
    """The demo's tree with as many steps."""
    path = folder / "small.py"
    path.write_text(
        SMALL.replace("{pretrain}", str(pretrain))
        .replace("{adapt}", str(adapt))
        .replace("{finetune}", str(finetune))
    )
    return path


def null_run(bench: Bench) -> Finding:
    """The demo's 36 runs, complete, asked for again."""
    small_demo(bench.folder, pretrain=2, adapt=1, finetune=1)
    return _repeated([STUDY, "run", "small.py"], bench)


def first_step(bench: Bench) -> Finding:
    """A whole run of one step (held-out loss, checkpoint and seal included) beside a bare loop."""
    sweep = small_demo(bench.folder, pretrain=1, adapt=1, finetune=1)
    (bench.folder / "bare.py").write_text(BARE)
    name = f"{sweep.name}:cd_flm-s0"
    seconds([STUDY, "run", name], cwd=bench.folder)
    ours, bare = [], []
    for _ in range(bench.rounds):
        for kept in (bench.folder / "runs").glob("cd_flm-s0--*"):
            shutil.rmtree(kept)
        ours.append(seconds([STUDY, "run", name], cwd=bench.folder))
        bare.append(seconds([sys.executable, "bare.py"], cwd=bench.folder))
    more = tuple(a - b for a, b in zip(ours, bare, strict=True))
    return Finding(
        figure=Figure(values=more, unit="s"),
        ours=Figure(values=tuple(ours), unit="s"),
        peer=Figure(values=tuple(bare), unit="s"),
        notes=("An upper bound: the run's process is measured to its end",),
    )


def sweep(bench: Bench, *, pretrain: int, adapt: int, finetune: int) -> Finding:
    """The tree with two workers, beside each of its leaves' paths alone, one after the other."""
    path = small_demo(bench.folder, pretrain=pretrain, adapt=adapt, finetune=finetune)
    leaves = [run.slug for run in load_sweep(path).declared]
    together, apart = [], []
    for number in range(bench.rounds):
        runs = ["--store", f"tree-{number}"]
        together.append(seconds([STUDY, "run", path, *runs, "--workers", "2"], cwd=bench.folder))
        total = 0.0
        for slug in leaves:
            alone = ["--store", f"alone-{number}-{slug}", "--workers", "1", "--threads", "2"]
            total += seconds([STUDY, "run", f"{path}:{slug}", *alone], cwd=bench.folder)
        apart.append(total)
    ratio = tuple(a / b for a, b in zip(together, apart, strict=True))
    return Finding(
        figure=Figure(values=ratio, unit="x"),
        ours=Figure(values=tuple(together), unit="s"),
        peer=Figure(values=tuple(apart), unit="s"),
        notes=(f"{len(leaves)} leaves, {pretrain} steps of pretraining",),
    )
