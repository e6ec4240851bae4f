"""Every script of bash passes shellcheck, those that a launch renders too."""

import subprocess
from pathlib import Path

from campaign import Campaign

from study.runs.plan import load_sweep

ROOT = Path(__file__).parents[2]


def shellcheck(*scripts: Path) -> str:
    done = subprocess.run(["shellcheck", "-x", *scripts], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_the_scripts_that_are_kept():
    scripts = [
        *(ROOT / "slurm").glob("*.sh"),
        *Path(__file__).parent.glob("*.sh"),
        ROOT / ".ci/run",
    ]
    assert len(scripts) >= 4
    assert shellcheck(*scripts) == ""


def test_the_scripts_that_are_rendered_are_taken_by_sbatch(campaign: Campaign):
    campaign.study("launch", str(campaign.sweep), *campaign.options, "--dry-run")
    jobs = sorted(campaign.store.root.glob("*/job.sh"))
    arrays = sorted(campaign.store.root.glob("cluster/dry-run/*/array.sh"))
    assert len(jobs) == 6
    assert arrays
    assert shellcheck(*jobs, *arrays) == ""
    for script in (*jobs, *arrays):
        campaign.cluster.ask("sbatch", "--test-only", str(script))


def test_every_script_of_the_papers_study_is_taken_by_sbatch(cluster, tmp_path: Path):
    paper = Campaign(cluster, tmp_path, sweep=ROOT / "sweeps" / "paper.py")
    paper.use(time="2-00:00:00", execution={"zero": 0})  # Adafactor runs at no other stage
    paper.study("launch", str(paper.sweep), *paper.options, "--dry-run")
    jobs = sorted(paper.store.root.glob("*/job.sh"))
    arrays = sorted(paper.store.root.glob("cluster/dry-run/*/array.sh"))
    assert len(jobs) == len(load_sweep(paper.sweep).runs) == 146
    assert shellcheck(*jobs, *arrays) == ""
    for script in (*jobs, *arrays):
        cluster.ask("sbatch", "--test-only", str(script))
