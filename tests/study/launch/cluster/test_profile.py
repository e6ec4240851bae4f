"""Profiles: what a kind of run gets, what is refused with its line, where they are looked for."""

from dataclasses import replace
from pathlib import Path

import made_runs as made
import pytest

from study.launch.cluster import profile, scripts
from study.launch.cluster.submit import divide
from study.runs.domain import kinds
from study.runs.plan import close

SHIPPED = Path(profile.__file__).resolve().parents[3] / "slurm" / "profiles"
FULL = """\
partition = "gpu"
nodes = 2
ranks_per_node = 4
cpus_per_rank = 6
gpus_per_rank = 1
time = "1-00:00:00"
memory = "200G"
sbatch = ["--exclusive"]
throttle = 3
setup = ["module load cuda"]

[execution]
device = "cuda"
zero = 2
data_dirs = ["/data"]

[kind.Evaluation]
time = "30"
[kind.Evaluation.execution]
micro_batch = 4
"""


def _load(tmp_path, text):
    path = tmp_path / "site.toml"
    path.write_text(text)
    return profile.load(path)


def test_a_kind_gets_the_common_values_and_its_own(tmp_path):
    loaded = _load(tmp_path, FULL)
    assert loaded.name == str(tmp_path / "site.toml")
    assert profile.find(loaded.name) == tmp_path / "site.toml"
    assert loaded.site.throttle == 3
    training, execution = loaded.of(made.pretrain())
    assert (training.ranks, training.time, training.sbatch) == (8, "1-00:00:00", ("--exclusive",))
    assert (execution.device, execution.threads, execution.micro_batch) == ("cuda", 6, None)
    assert (execution.ranks, execution.zero) == (8, 2)
    assert execution.data_dirs == (Path("/data"),)
    scoring, execution = loaded.of(made.evaluation(made.pretrain()))
    assert (scoring.ranks, scoring.time, scoring.partition) == (1, "30", "gpu")
    assert (execution.micro_batch, execution.device) == (4, "cuda")
    assert loaded.of(made.CORPUS)[0].ranks == loaded.of(made.CORPUS)[1].ranks == 1


def test_data_directories_of_the_command_come_first(tmp_path):
    loaded = _load(tmp_path, FULL).with_data_dirs([tmp_path])
    assert loaded.of(made.CORPUS)[1].data_dirs == (tmp_path.resolve(), Path("/data"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('\npartitoin = "gpu"', [":2:", "partitoin", "did you mean 'partition'?"]),
        ('nodes = "2"', [":1:", "nodes has '2' (str)", "an integer"]),
        ("nodes = true", [":1:", "nodes has True (bool)"]),
        ("nodes = 0", [":1:", "nodes is 0", "at least 1"]),
        ('time = "1h"', [":1:", "time is '1h'", "SLURM's forms"]),
        ('time = "5"\nsignal_seconds = 300', ["signal_seconds is 300", "less than the time limit"]),
        ("throttle = 0", [":1:", "throttle is 0"]),
        ("setup = 'module load'", [":1:", "setup", "a list of (text)"]),
        ('setup = ["a\\nb"]', ["setup", "one printable line"]),
        ('sbatch = ["--array=0-3"]', ["'--array=0-3'", "sets itself"]),
        ('sbatch = ["-N2"]', ["'-N2'", "long options"]),
        ('scratch = "tmp"', ["scratch is 'tmp'", "absolute"]),
        ('[execution]\n\ndevise = "cuda"', [":3:", "did you mean 'device'?"]),
        ("[execution]\nranks = 4", [":2:", "unknown key 'ranks'"]),
        ('[execution]\ncompile = "yes"', [":2:", "'yes'", "'off', 'on'"]),
        ('[execution]\ncache = "cache"', [":2:", "'cache'", "an absolute path"]),
        ("[execution]\nmicro_batch = 0", [":2:", "micro_batch is 0"]),
        ("[kind.Evaluations]\ntime = '5'", [":1:", "did you mean 'Evaluation'?"]),
        ("[kind.Corpus]\nnodes = 2", [":2:", "Corpus asks for 2 ranks", "legal: 1"]),
        ("[kind.Adapt]\nthrottle = 2", [":2:", "unknown key 'throttle' in [kind.Adapt]"]),
        ("[kind.Adapt.execution]\nzreo = 1", [":2:", "'zreo' in [kind.Adapt.execution]"]),
        ("nodes = 2", ["Execution.ranks is 2", "zero 0, 1, 2 or 3"]),
        ("[execution]\nzero = 4", [":2:", "zero has 4", "0, 1, 2, 3"]),
        ("kind = 3", ["kind is 3", "a table"]),
        ("nodes = ", ["not TOML"]),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, words):
    with pytest.raises(ValueError) as caught:
        _load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "site.toml"))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 1800),
        ("2:30", 150),
        ("4:00:00", 14400),
        ("2-12", 216000),
        ("1-1:30", 91800),
        ("1-00:00:01", 86401),
        ("UNLIMITED", float("inf")),
    ],
)
def test_slurms_forms_of_time(text, expected):
    assert profile.seconds(text) == expected


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_profiles_are_read_and_name_every_common_key(path):
    loaded = profile.load(path)
    assert loaded.kinds.keys() == kinds().keys()
    assert profile.find(path.stem) == path
    assert loaded.name == path.stem


def test_a_profile_is_found_by_path_by_name_and_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    mine = tmp_path / ".config" / "archstudy" / "clusters" / "mine.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("nodes = 1")
    assert profile.find("mine") == mine
    assert profile.find(str(mine)) == mine
    with pytest.raises(ValueError, match="no profile 'mien'; legal: cpu, gpu, mine"):
        profile.find("mien")
    with pytest.raises(ValueError, match="no such profile"):
        profile.find(str(tmp_path / "other.toml"))


def test_a_profile_never_enters_an_id(tmp_path):
    before = made.pretrain().id
    _load(tmp_path, FULL).of(made.pretrain())
    assert made.pretrain().id == before


def test_gpus_are_asked_for_by_node_with_their_type(tmp_path):
    resources = _load(tmp_path, FULL).of(made.pretrain())[0]
    out = Path("/a 100% store/x.out")
    header = scripts.header(replace(resources, gpu_type="a100"), name="n", output=out)
    for line in (
        '#SBATCH --output="/a 100%% store/x.out"',
        "#SBATCH --gpus-per-node=a100:4",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --signal=B:USR1@300",
        "#SBATCH --requeue",
        "#SBATCH --exclusive",
    ):
        assert f"{line}\n" in header
    assert "--account" not in header


def test_arrays_are_layers_of_equal_resources_under_the_cap(tmp_path):
    loaded = _load(tmp_path, 'array_cap = 2\n[kind.Evaluation]\ntime = "30"\n')
    parents = [made.pretrain(f"p{seed}", seed=seed) for seed in range(3)]
    runs = close([*parents, *(made.evaluation(run, f"e-{run.slug}") for run in parents[:2])])
    runs = (*runs, made.adapt(parents[2]))
    groups = divide(runs, profile=loaded)
    assert [(group.layer, [run.slug for run in group.runs]) for group in groups] == [
        (0, ["text"]),
        (1, ["p0", "p1"]),
        (1, ["p2"]),
        (2, ["e-p0", "e-p1"]),
        (2, ["adapt"]),
    ]
    # what is not submitted is above nobody
    assert [group.layer for group in divide(runs[1:], profile=loaded)] == [0, 0, 1, 1]


def test_a_path_of_nobody_s_home_is_refused_by_name(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"cache has '~nobody-at-all/x'; legal: an absolute path"):
        _load(tmp_path, "[execution]\ncache = '~nobody-at-all/x'")
    monkeypatch.setenv("HOME", "/home/me")
    loaded = _load(tmp_path, "[execution]\ncache = '~/x'")
    assert str(loaded.kinds["Pretrain"][1].cache) == "/home/me/x"
