"""A user without a home or a name, or with a home that can't be written, gets along."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from study.launch.cluster import profile
from study.runs import execution, user_directories
from study.runs.execution import default_cache
from study.runs.user_directories import cache_home, config_home, furnish

ROOT = Path(execution.__file__).resolve().parents[2]
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
LIBRARIES = tuple(user_directories._libraries())


def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """No home, no name, no directories; the temporary one is the test's."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", *NAMES, *LIBRARIES):
        monkeypatch.setenv(name, "")  # so that it is put back whatever a test sets
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(user_directories.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    user_directories.temporary.cache_clear()
    execution._say_temporary.cache_clear()
    yield tmp_path
    user_directories.temporary.cache_clear()


def stand_in(bare):
    return bare / "tmp" / f"archstudy-{os.getuid()}"


def test_absolute_base_directories_are_taken_and_relative_ones_ignored(bare, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(bare / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(bare / "config"))
    assert (cache_home(), config_home()) == (bare / "cache", bare / "config")
    assert default_cache() == bare / "cache" / "archstudy"
    mine = bare / "config" / "archstudy" / "clusters" / "mine.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("nodes = 1")
    assert profile.find("mine") == mine
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    assert cache_home() == bare / "home" / ".cache"
    assert config_home() == bare / "home" / ".config"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("home", [None, "", "here", "/dev/null/x"])
def test_without_a_home_the_cache_is_a_temporary_directory_and_that_is_said_once(
    bare, monkeypatch, capsys, home
):
    if home is not None:
        monkeypatch.setenv("HOME", home)
    found = default_cache()
    assert found.is_relative_to(stand_in(bare))
    assert default_cache() == found
    told = capsys.readouterr().err
    assert told.count("WARNING") == 1
    assert f"kept in {found}; --cache DIR" in told
    assert "XDG_CACHE_HOME names another place" in told


def test_a_cache_that_is_there_is_read_though_its_home_cannot_be_written(bare, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(bare))
    (bare / ".cache" / "archstudy").mkdir(parents=True)
    monkeypatch.setattr(user_directories.os, "access", lambda *_: False)  # root may write anywhere
    assert default_cache() == bare / ".cache" / "archstudy"
    monkeypatch.setenv("HOME", str(bare / "tmp"))
    assert default_cache().is_relative_to(stand_in(bare))


def test_libraries_get_what_is_missing_and_nothing_is_overwritten(bare, monkeypatch):
    furnish()
    assert os.environ["HOME"] == str(stand_in(bare))
    assert os.environ["LOGNAME"] == f"uid{os.getuid()}"
    assert not any(os.environ.get(name) for name in LIBRARIES)  # all of them lie below the home
    monkeypatch.setenv("HOME", "/dev/null/x")
    monkeypatch.setenv("HF_HOME", "/mine")
    monkeypatch.setenv("LOGNAME", "me")
    furnish()
    assert (os.environ["HOME"], os.environ["LOGNAME"]) == ("/dev/null/x", "me")
    assert os.environ["HF_HOME"] == "/mine"
    for name in set(LIBRARIES) - {"HF_HOME"}:
        assert Path(os.environ[name]).is_relative_to(stand_in(bare))


def test_a_usual_home_is_left_alone(bare, monkeypatch):
    monkeypatch.setenv("HOME", str(bare))
    monkeypatch.setenv("USER", "me")
    before = dict(os.environ)
    furnish()
    assert dict(os.environ) == before
    assert not stand_in(bare).exists()


@pytest.mark.parametrize("planted", ["a link", "open to all", "a file"])
def test_somebody_elses_directory_of_that_name_is_not_used(bare, planted):
    place = stand_in(bare)
    if planted == "a link":
        (bare / "theirs").mkdir()
        place.symlink_to(bare / "theirs")
    elif planted == "a file":
        place.write_text("")
    else:
        place.mkdir()
        place.chmod(0o777)
    found = user_directories.temporary()
    assert found.parent == bare / "tmp"
    assert found.name.startswith("archstudy-")
    assert found != place
    assert found.stat().st_mode & 0o077 == 0


COMMANDS = """
import json, pwd, sys
def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
from typer.testing import CliRunner
from study import cli
from study.runs import user_directories
user_directories.furnish()
store = sys.argv[1]
demo = "sweeps/demo.py"
ended = {}
for words in (
    ["plan", demo, "--store", store],
    ["show", f"{demo}:world-text"],
    ["claims", demo, "--store", store],
    ["suites"],
    ["overlap", demo, "--store", store],
    ["status", demo, "--store", store],
    ["eval", demo, "--store", store],
    ["rates", "sweeps/demo_rates.py", "--out", f"{store}.json", "--store", store],
    ["mixers"],
    ["launch", demo, "--cluster", "cpu", "--dry-run", "--allow-dirty", "--store", store],
    ["explain", f"{demo}:world-text", "--store", store],
    ["retry", demo, "--store", store],
    ["cancel", demo, "--store", store],
    ["fetch", demo],
    ["pin", "sweeps/movies.py"],
    ["export", f"{demo}:cd_flm-s0", "--to", f"{store}.model", "--store", store],
    ["run", f"{demo}:cd_flm-s0", "--workers", "0", "--store", store],
):
    told = CliRunner().invoke(cli.app, words)
    ended[words[0]] = (told.exit_code, told.output[-300:])
print(json.dumps(ended))
"""
REFUSED = {"eval": "has no evaluation whose run is done", "rates": "run it first"}
REFUSED |= {"export": "has no checkpoint", "run": "--workers", "pin": "has no pins"}


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/dev/null/x"])
def test_every_command_ends_as_for_others(tmp_path, home):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", *NAMES, *LIBRARIES)
    }
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment |= {} if home is None else {"HOME": home}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    for name, (code, told) in json.loads(done.stdout.splitlines()[-1]).items():
        assert code == (2 if name in REFUSED else 0), (name, told)
        assert REFUSED.get(name, "") in told
    assert not (ROOT / "~").exists()


TINY = """
import sys
sys.path.insert(0, {here!r})
import tiny_runs
def runs():
    return (tiny_runs.TEXT,)
"""
COMPILED = """
from study.runs.user_directories import furnish
furnish()
import torch
print(torch.compile(lambda x: x.sin() * 2)(torch.zeros(8)).sum().item())
"""


@pytest.mark.slow
def test_a_user_without_a_name_runs_workers_and_compiles(tmp_path):
    """torch's Inductor names its cache by the user; workers are other processes."""
    (tmp_path / "sitecustomize.py").write_text(
        "import pwd\ndef nobody(uid):\n    raise KeyError(uid)\npwd.getpwuid = nobody\n"
    )
    (tmp_path / "tiny.py").write_text(TINY.format(here=str(Path(__file__).parents[2] / "made")))
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", *NAMES, *LIBRARIES)
    }
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def told(*words):
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    done = told("-m", "study.cli", "run", "tiny.py", "--store", "runs", "--threads", "1")
    assert done.stderr.count("WARNING") == 1
    assert told("-c", COMPILED).stdout == "0.0\n"
    assert not (tmp_path / "~").exists()
