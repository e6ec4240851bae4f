"""slurm/job.sh and slurm/array.sh as real bash, with srun and scontrol as scripts on PATH."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import made_runs as made
import pytest

from study.launch.cluster import profile, scripts
from study.launch.cluster.submit import divide

SLURM = Path(scripts.__file__).resolve().parents[3] / "slurm"
PROFILE = 'time = "1:00:00"\nsignal_seconds = 60\n'

# The run does what its file says: `arguments`, then `begins`, `ends CODE`, `waits SECONDS`, or
# `answers CODE` to a USR1; `deaf` does not hear it.
SRUN = """#!/usr/bin/env bash
case " $* " in *" --overlap "*) exit 0 ;; esac
exec > /dev/null 2>&1
printf '%s\\n' "$@" >> "$HOME/srun"
env > "$HOME/environment"
read -r word number < "$HOME/behaviour"
case $word in
ends) exit "$number" ;;
dies) kill -s USR1 "$$"; sleep 5 ;;
answers) trap 'echo heard >> "$HOME/heard"; exit "$number"' USR1 ;;
deaf) trap 'echo heard >> "$HOME/heard"' USR1 ;;
esac
echo begun > "$HOME/begun"
for _ in $(seq 300); do sleep 0.1; done
"""
SCONTROL = """#!/usr/bin/env bash
echo "$*" >> "$HOME/scontrol"
read -r code < "$HOME/requeue" 2>/dev/null
exit "${code:-0}"
"""


@pytest.fixture
def site(tmp_path):
    return _Site(tmp_path)


class _Site:
    """A run directory with its job.sh, and a PATH with a made srun and scontrol."""

    def __init__(self, tmp_path, *, text=PROFILE):
        self.home = tmp_path / "home"
        binaries = tmp_path / "bin"
        self.directory = tmp_path / "störe 'one'" / 'a "run" $HOME'
        self.code = tmp_path / "the code"
        self.scratch = tmp_path / "scratch"
        for path in (self.home, binaries, self.directory, self.scratch):
            path.mkdir(parents=True)
        shutil.copytree(SLURM, self.code / "slurm")
        for name, content in (("srun", SRUN), ("scontrol", SCONTROL)):
            (binaries / name).write_text(content)
            (binaries / name).chmod(0o755)
        (tmp_path / "p.toml").write_text(text)
        self.profile = profile.load(tmp_path / "p.toml")
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NUM_NODES": "1",
            "TMPDIR": str(self.scratch),
        }

    def write(self, run=None):
        job = scripts.Job(
            run=run or made.pretrain(),
            directory=self.directory,
            code=self.code,
            execution=self.directory / "execution.json",
        )
        script = self.directory / "job.sh"
        script.write_text(scripts.job_script(job, profile=self.profile))
        return script

    def behave(self, words):
        (self.home / "behaviour").write_text(words + "\n")

    def start(self, script, **environment):
        return subprocess.Popen(
            ["bash", str(script)],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script, **environment):
        process = self.start(script, **environment)
        return process.wait(timeout=30), process.communicate()[0]

    def read(self, name):
        path = self.home / name
        return path.read_text() if path.exists() else ""

    def signalled(self, number, script=None, *, during="begun", also=None, **environment):
        """(exit code, output) of a job that gets a signal when it is at work."""
        process = self.start(script or self.write(), **environment)
        _until(lambda: (self.home / during).exists())
        if also is not None:
            also()
        process.send_signal(number)
        return process.wait(timeout=30), process.communicate()[0]


def _until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_command_is_one_rank_a_task_with_the_submitted_code(site, tmp_path):
    site.profile = replace(
        site.profile, site=replace(site.profile.site, prefix=("apptainer", "exec", "an image"))
    )
    site.behave("ends 0")
    code, output = site.run(site.write())
    assert code == 0, output
    arguments = site.read("srun").splitlines()
    assert arguments[:5] == [
        "--kill-on-bad-exit=1",
        "--wait=0",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--cpus-per-task=1",
    ]
    assert arguments[5:] == [
        *("apptainer", "exec", "an image", sys.executable, "-P", "-m", "study.cli", "job"),
        *(str(site.directory), "--execution", str(site.directory / "execution.json")),
        *("--code", str(site.code)),
    ]
    environment = dict(line.partition("=")[::2] for line in site.read("environment").splitlines())
    assert environment["PYTHONPATH"] == str(site.code)
    assert environment["OMP_NUM_THREADS"] == "1"
    local = f"{site.scratch}/archstudy-{os.getuid()}-4711-0"
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR"):
        assert environment[name].startswith(local)
    assert environment["STUDY_RENDEZVOUS"] == f"{site.directory}/rendezvous/4711-0"
    assert not Path(local).exists()
    assert not Path(environment["STUDY_RENDEZVOUS"]).exists()
    assert "HF_HUB_OFFLINE" not in environment


@pytest.mark.parametrize("code", [0, 1, 2, 3, 75, 137])
def test_an_end_without_a_signal_is_the_jobs_and_never_queues_again(site, code):
    site.behave(f"ends {code}")
    assert site.run(site.write())[0] == code
    assert site.read("scontrol") == ""


@pytest.mark.parametrize("code", [75, 137, 143, 138, 1])
def test_after_usr1_an_interrupted_run_queues_again(site, code):
    """1 without a failure note is srun's own end."""
    site.behave(f"answers {code}")
    ended, output = site.signalled(signal.SIGUSR1)
    assert site.read("scontrol") == "requeue 4711\n", output
    assert ended == 75
    assert site.read("heard") == "heard\n"
    assert not list(site.scratch.iterdir())


@pytest.mark.parametrize("code", [0, 2, 3])
def test_after_usr1_a_run_that_ended_by_itself_does_not(site, code):
    site.behave(f"answers {code}")
    assert site.signalled(signal.SIGUSR1)[0] == code
    assert site.read("scontrol") == ""


def test_after_usr1_a_failure_does_not_queue_again(site):
    site.behave("answers 1")
    note = site.directory / "failed.json"
    assert site.signalled(signal.SIGUSR1, also=note.touch)[0] == 1
    assert site.read("scontrol") == ""


def test_term_lets_the_ranks_checkpoint_and_leaves_queueing_to_who_sent_it(site):
    site.behave("answers 75")
    assert site.signalled(signal.SIGTERM)[0] == 75
    assert site.read("heard") == "heard\n"
    assert site.read("scontrol") == ""


def test_a_term_after_usr1_wins(site):
    site.behave("deaf 0")
    process = site.start(site.write())
    _until(lambda: site.read("begun"))
    process.send_signal(signal.SIGUSR1)
    _until(lambda: site.read("heard"))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    (step,) = _children(process.pid, "srun")
    os.kill(step, signal.SIGKILL)
    assert process.wait(timeout=30) == 137
    process.stdout.close()
    assert site.read("scontrol") == ""


def _children(pid, name):
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", name], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def test_ranks_that_do_not_end_in_time_are_left_and_the_job_queues_again(site):
    resources, execution = site.profile.kinds["Pretrain"]
    kinds = site.profile.kinds | {"Pretrain": (replace(resources, signal_seconds=3), execution)}
    site.profile = replace(site.profile, kinds=kinds)
    site.behave("deaf 0")
    begun = time.monotonic()
    ended, output = site.signalled(signal.SIGUSR1)
    assert ended == 75
    assert 2 <= time.monotonic() - begun < 15
    assert site.read("scontrol") == "requeue 4711\n", output


def test_a_limit_that_is_too_short_for_any_progress_ends_the_queueing(site):
    site.behave("answers 75")
    script = site.write()
    steps = iter((100, 100, 200, 200, 200))

    def checkpoint():
        (site.directory / "checkpoints" / f"step-{next(steps):08d}").mkdir(
            parents=True, exist_ok=True
        )

    for attempt in range(5):
        (site.home / "begun").unlink(missing_ok=True)
        code, output = site.signalled(
            signal.SIGUSR1, script, also=checkpoint, SLURM_RESTART_COUNT=str(attempt)
        )
        assert code == 75
        assert len(site.read("scontrol").splitlines()) == min(attempt + 1, 4)
    assert "three attempts left no new checkpoint (step-00000200)" in output
    (site.home / "begun").unlink()
    site.signalled(signal.SIGUSR1, script, SLURM_JOB_ID="4712")  # launched again
    assert site.read("scontrol").splitlines()[4:] == ["requeue 4712"]


def test_an_srun_that_dies_of_the_signal_queues_again(site):
    """So early that it does not handle it yet."""
    script = site.write()
    body = (site.code / "slurm" / "job.sh").read_text()
    mark = "step=$!\n"
    assert mark in body
    (site.code / "slurm" / "job.sh").write_text(body.replace(mark, f'{mark}kill -s USR1 "$$"\n', 1))
    site.behave("dies 0")
    assert site.run(script)[0] == 75
    assert site.read("scontrol") == "requeue 4711\n"


def test_a_signal_while_the_sites_lines_run_queues_again_without_a_step(site):
    slow = (f"touch '{site.home}/setting-up'", "sleep 1")
    site.profile = replace(site.profile, site=replace(site.profile.site, setup=slow))
    site.behave("ends 0")
    assert site.signalled(signal.SIGUSR1, site.write(), during="setting-up")[0] == 75
    assert site.read("scontrol") == "requeue 4711\n"
    assert site.read("srun") == ""


@pytest.mark.parametrize("via", ["job", "array"])
def test_a_signal_before_anything_else_does_not_end_the_shell(site, via):
    site.behave("answers 75")
    script = site.write()
    if via == "array":
        script = _array(site)
    text = script.read_text()
    last = text.splitlines()[-1]
    assert last.startswith("source ")
    script.write_text(text.replace(last, f'kill -s USR1 "$$"\n{last}'))
    code, output = site.run(script, SLURM_ARRAY_JOB_ID="4700", SLURM_ARRAY_TASK_ID="1")
    assert code == 75, output
    # submitted by hand from within another array, job.sh is no task of that
    assert site.read("scontrol") == ("requeue 4711\n" if via == "job" else "requeue 4700_1\n")


def test_a_task_is_queued_again_as_a_task_and_not_as_the_array(site):
    """The last task of an array has the array's own id."""
    site.behave("answers 75")
    names = {"SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "1"}
    site.write()
    assert site.signalled(signal.SIGUSR1, _array(site), **names)[0] == 75
    assert site.read("scontrol") == "requeue 4711_1\n"


def _array(site):
    folder = site.directory.parent / "array"
    folder.mkdir()
    (folder / "tasks.txt").write_text(f"/nowhere\n{site.directory}\n")
    (group,) = divide([made.pretrain()], profile=site.profile)
    script = folder / "array.sh"
    script.write_text(
        scripts.array_script(
            resources=group.resources,
            name="archstudy-x",
            directory=folder,
            code=site.code,
            throttle=1,
            tasks=2,
        )
    )
    return script


def test_a_task_without_a_run_directory_says_so(site):
    code, output = site.run(_array(site), SLURM_ARRAY_JOB_ID="4700", SLURM_ARRAY_TASK_ID="0")
    assert code == 2
    assert "no job.sh in '/nowhere'" in output


def test_a_requeue_that_slurm_refuses_is_tried_again_and_said(site, monkeypatch):
    (site.home / "requeue").write_text("1\n")
    body = (site.code / "slurm" / "job.sh").read_text()
    assert "sleep 5\n" in body
    (site.code / "slurm" / "job.sh").write_text(body.replace("sleep 5\n", "sleep 0.05\n"))
    site.behave("answers 75")
    code, output = site.signalled(signal.SIGUSR1)
    assert code == 75
    assert len(site.read("scontrol").splitlines()) == 6
    assert "launching the study again" in output


def test_a_line_of_the_profile_that_fails_is_named_and_nothing_starts(site):
    setup = ("export A_SITE='set'", 'echo "$A_SITE" "$UNSET_HERE"', "false # for now")
    site.profile = replace(site.profile, site=replace(site.profile.site, setup=setup))
    site.behave("ends 0")
    code, output = site.run(site.write())
    assert code == 1
    assert "exit code 1 of the profile's line: false # for now" in output
    assert "set" in output
    assert site.read("srun") == ""


def test_offline_reaches_the_libraries(site):
    kinds = {
        kind: (resources, replace(execution, offline=True, cache=Path("/shared/ca che")))
        for kind, (resources, execution) in site.profile.kinds.items()
    }
    site.profile = replace(site.profile, kinds=kinds)
    site.behave("ends 0")
    assert site.run(site.write())[0] == 0
    environment = site.read("environment").splitlines()
    for line in ("HF_HUB_OFFLINE=1", "HF_DATASETS_OFFLINE=1", "HF_HOME=/shared/ca che/huggingface"):
        assert line in environment


def test_outside_slurm_it_says_how_to_submit(site):
    site.environment.pop("SLURM_JOB_ID")
    code, output = site.run(site.write())
    assert code != 0
    assert "submit this with sbatch" in output


def test_an_execution_is_read_back_as_it_was_written(tmp_path, site):
    execution = site.profile.kinds["Pretrain"][1]
    execution = replace(execution, data_dirs=(Path("/a b"),), micro_batch=3, threads=2)
    path = tmp_path / "execution.json"
    path.write_text(scripts.execution_json(execution))
    assert scripts.read_execution(path) == execution
    path.write_text(json.dumps(json.loads(path.read_text()) | {"treads": 1}))
    with pytest.raises(ValueError, match="treads"):
        scripts.read_execution(path)
