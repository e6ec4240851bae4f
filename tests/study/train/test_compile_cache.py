"""What was not finished is taken out of Inductor's cache, and nothing else is."""

import pytest
from filelock import FileLock

from study.train.compile_cache import remove_unfinished_builds


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    (tmp_path / "locks").mkdir()
    (tmp_path / "ab").mkdir()
    return tmp_path


def _library(cache, name, *, content=b"", unfinished=True):
    path = cache / "ab" / f"{name}.so"
    path.write_bytes(content)
    path.with_suffix(".cpp").write_text("int one() { return 1; }")
    if unfinished:
        (cache / "ab" / f"{name}_CxxBuild").mkdir()
    return path


def test_a_library_without_a_byte_is_removed(cache):
    broken = _library(cache, "cabc.main")
    assert remove_unfinished_builds() == ("cabc.main",)
    assert sorted(path.name for path in broken.parent.iterdir()) == ["cabc.main.cpp"]
    assert remove_unfinished_builds() == ()


def test_what_was_finished_stays(cache):
    whole = _library(cache, "cabc", content=b"library", unfinished=False)
    assert remove_unfinished_builds() == ()
    assert whole.read_bytes() == b"library"


def test_what_another_process_builds_is_left_alone(cache):
    theirs = _library(cache, "cabc.main", content=b"half")
    ours = _library(cache, "cdef.main")
    with FileLock(cache / "locks" / "cabc.lock"):
        assert remove_unfinished_builds() == ("cdef.main",)
    assert theirs.read_bytes() == b"half"
    assert not ours.exists()


def test_no_cache_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "new"))
    assert remove_unfinished_builds() == ()
