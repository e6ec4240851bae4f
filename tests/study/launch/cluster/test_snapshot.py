"""The code that jobs run: the commit, or a dirty tree that was asked for, and what says so."""

import json
import subprocess

import pytest

from study.launch.cluster import snapshot
from study.launch.cluster.snapshot import code_path, take
from study.store import provenance


@pytest.fixture
def repository(tmp_path):
    home = tmp_path / "the répo"
    home.mkdir()
    _git(home, "init", "--quiet")
    (home / "study").mkdir()
    (home / "study" / "a.py").write_text("a = 1\n")
    (home / ".gitignore").write_text("ignored\n")
    (home / "ignored").write_text("not mine")
    _commit(home)
    return home


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "store"
    path.mkdir()
    return path


def _git(home, *arguments):
    names = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    command = ["git", "-C", str(home), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _commit(home):
    _git(home, "add", "-A")
    _git(home, "commit", "--quiet", "-m", "a commit")


def _said(root, tree):
    return json.loads((code_path(root, tree) / "COMMIT.json").read_text())


def test_a_clean_tree_is_archived_under_its_name_and_says_its_commit(repository, root):
    tree = take(root, changes="refuse", repository=repository)
    assert tree == _git(repository, "rev-parse", "HEAD^{tree}")
    code = code_path(root, tree)
    assert (code / "study" / "a.py").read_text() == "a = 1\n"
    assert not (code / "ignored").exists()
    assert _said(root, tree) == {"commit": _git(repository, "rev-parse", "HEAD"), "dirty": False}
    (repository / "study" / "a.py").write_text("a = 2\n")
    assert (code / "study" / "a.py").read_text() == "a = 1\n"


def test_a_dirty_tree_is_refused_with_the_names_of_its_files(repository, root):
    (repository / "study" / "a.py").write_text("a = 2\n")
    (repository / "study" / "néw file.py").write_text("b = 1\n")
    with pytest.raises(ValueError, match=r"study/a\.py, study/néw file\.py; .*--allow-dirty"):
        take(root, changes="refuse", repository=repository)
    assert not (root / "cluster").exists()


def test_many_changes_are_counted(repository, root):
    for number in range(14):
        (repository / f"{number:02d}.py").touch()
    with pytest.raises(ValueError, match=r"09\.py and 4 more"):
        take(root, changes="refuse", repository=repository)


def test_a_dirty_tree_that_is_asked_for_is_archived_whole_and_leaves_the_repository_alone(
    repository, root
):
    (repository / "study" / "a.py").write_text("a = 2\n")
    (repository / "new.py").write_text("b = 1\n")
    before = _git(repository, "status", "--porcelain"), _git(repository, "count-objects", "-v")
    tree = take(root, changes="archive", repository=repository)
    assert (code_path(root, tree) / "study" / "a.py").read_text() == "a = 2\n"
    assert (code_path(root, tree) / "new.py").exists()
    assert not (code_path(root, tree) / "ignored").exists()
    assert _said(root, tree)["dirty"] is True
    after = _git(repository, "status", "--porcelain"), _git(repository, "count-objects", "-v")
    assert after == before
    assert take(root, changes="archive", repository=repository) == tree
    _commit(repository)
    assert take(root, changes="refuse", repository=repository) == tree
    assert _said(root, tree)["dirty"] is False


def test_a_package_without_a_repository_of_its_own_is_refused(repository, tmp_path, root):
    with pytest.raises(ValueError, match="repository of something else"):
        take(root, changes="refuse", repository=repository / "study")
    (tmp_path / "plain").mkdir()
    with pytest.raises(ValueError, match="is no git repository"):
        take(root, changes="refuse", repository=tmp_path / "plain")


def test_a_surrounding_gits_variables_are_not_followed(repository, root, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    tree = take(root, changes="refuse", repository=repository)
    monkeypatch.delenv("GIT_DIR")
    assert tree == _git(repository, "rev-parse", "HEAD^{tree}")


def test_provenance_is_the_snapshots_even_inside_another_repository(repository, monkeypatch):
    store = repository / "runs"  # a store in the checkout, as the default is
    store.mkdir()
    (repository / ".gitignore").write_text("runs\n")
    _commit(repository)
    tree = take(store, changes="refuse", repository=repository)
    (repository / "later.py").touch()
    _commit(repository)
    found = provenance.commit(code_path(store, tree))
    assert found == {"commit": _git(repository, "rev-parse", "HEAD~1"), "dirty": False}
    assert provenance.commit(repository)["commit"] == _git(repository, "rev-parse", "HEAD")


def test_the_scripts_are_in_the_snapshot_of_this_very_package(root):
    tree = take(root, changes="archive")
    for name in ("job.sh", "array.sh"):
        assert (snapshot.code_path(root, tree) / "slurm" / name).is_file()
