import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.language.data import shards
from study.language.data.shards import TokenShards, write_shards

DOCUMENTS = [[5, 6, 7], [], [8], [9, 10, 11, 12]]


def write(directory, documents=DOCUMENTS, vocab_size=100):
    return write_shards(directory, [np.array(each, dtype=int) for each in documents], vocab_size)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 70_000), max_size=6), max_size=6), st.booleans())
def test_what_was_written_is_read(tmp_path_factory, documents, small):
    if small:
        documents = [[token % 65_536 for token in each] for each in documents]
    directory = tmp_path_factory.mktemp("shards")
    write(directory, documents, vocab_size=65_536 if small else 70_001)
    read = TokenShards.open(directory)
    assert [read.document(i).tolist() for i in range(read.num_documents)] == documents
    assert read.lengths.tolist() == [len(each) for each in documents]
    assert read.num_tokens == sum(map(len, documents))
    flat = [token for each in documents for token in each]
    assert read.tokens(1, len(flat)).tolist() == flat[1:]
    read.verify()


def test_width_follows_the_vocabulary(tmp_path):
    write(tmp_path / "small", vocab_size=65_536)
    write(tmp_path / "large", vocab_size=65_537)
    assert (tmp_path / "small" / "tokens.bin").stat().st_size == 2 * 8
    assert (tmp_path / "large" / "tokens.bin").stat().st_size == 4 * 8
    assert TokenShards.open(tmp_path / "large").document(0).dtype == np.int32


def test_a_token_outside_the_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match="document 1 holds token -1"):
        write(tmp_path, [[1], [-1]])
    with pytest.raises(ValueError, match="legal: 0 to 99"):
        write(tmp_path, [[100]])
    long = [7] * (shards.TOGETHER - 1)
    with pytest.raises(ValueError, match="document 3 holds token 8 or 100"):
        write(tmp_path, [long, [1, 2], [3], [100, 8], [-1]])


def test_what_is_written_together_is_what_is_written_apart(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 100, size).tolist() for size in (9, 0, 30, 1, 64, 200, 0, 5)]
    digests = set()
    for together in (1, 40, 1 << 16):
        monkeypatch.setattr(shards, "TOGETHER", together)
        written = write(tmp_path / str(together), documents)
        assert [written.document(i).tolist() for i in range(len(documents))] == documents
        digests.add(written.digest)
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin"])
def test_a_truncated_file_is_named(tmp_path, name):
    write(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{name}.*cut short"):
        TokenShards.open(tmp_path)


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "manifest.json"])
def test_a_missing_file_is_named(tmp_path, name):
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"{name}.*missing"):
        TokenShards.open(tmp_path)


def test_a_flipped_bit_is_found_by_verify(tmp_path):
    written = write(tmp_path)
    raw = bytearray((tmp_path / "tokens.bin").read_bytes())
    raw[3] ^= 1
    (tmp_path / "tokens.bin").write_bytes(raw)
    with pytest.raises(ValueError, match=r"tokens\.bin.*altered"):
        written.verify()


def test_a_pickle_in_place_of_a_manifest_is_refused(tmp_path):
    import pickle

    write(tmp_path)
    (tmp_path / "manifest.json").write_bytes(pickle.dumps({"format": 1}))
    with pytest.raises(ValueError, match=r"manifest\.json"):
        TokenShards.open(tmp_path)


def test_another_format_is_refused(tmp_path):
    write(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(ValueError, match="format 2"):
        TokenShards.open(tmp_path)


def test_digest_names_the_content(tmp_path):
    first = write(tmp_path / "a").digest
    assert write(tmp_path / "b").digest == first
    assert write(tmp_path / "c", [[5, 6, 8], *DOCUMENTS[1:]]).digest != first


def test_a_document_that_is_not_there(tmp_path):
    with pytest.raises(IndexError, match="document 4 of 4"):
        write(tmp_path).document(4)
