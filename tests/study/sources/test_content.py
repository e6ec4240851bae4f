import hashlib
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.language import world
from study.language.scores import ngrams
from study.runs.identity import identity
from study.runs.source import Part, Source
from study.sources import content
from study.sources.content import Access

ROWS = [{"text": f"number {n}", "kind": "even" if n % 2 == 0 else "odd"} for n in range(200)]


@pytest.fixture
def access(tmp_path):
    return Access(data_dirs=(tmp_path / "none", tmp_path), cache=tmp_path / "cache", offline=True)


def local(tmp_path, *, rows=ROWS, name="rows.jsonl", where=(), part=None, text_field="text"):
    raw = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / name).write_bytes(raw)
    return Source(
        uri=f"file://{name}",
        digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
        text_field=text_field,
        where=where,
        part=part,
    )


def named(path, **options):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    values = {"text_field": "text", "where": (), "part": None} | options
    return Source(uri=f"file://{path.name}", digest=f"sha256:{digest}", **values)


def test_rows_and_documents_in_order(tmp_path, access):
    source = local(tmp_path)
    assert list(content.rows(source, access=access)) == ROWS
    assert list(content.documents(source, access=access)) == [row["text"] for row in ROWS]


def test_where(tmp_path, access):
    source = local(tmp_path, where=(("kind", "odd"),))
    assert list(content.rows(source, access=access)) == ROWS[1::2]


def test_where_compares_as_strings(tmp_path, access):
    source = local(tmp_path, rows=[{"n": 1}, {"n": "1"}, {"n": 2}], where=(("n", "1"),))
    assert list(content.rows(source, access=access)) == [{"n": 1}, {"n": "1"}]


def test_where_names_the_columns(tmp_path, access):
    source = local(tmp_path, where=(("sort", "odd"),))
    with pytest.raises(ValueError, match="row 1: no column 'sort'; columns: text, kind"):
        list(content.rows(source, access=access))


def test_nothing_is_equal_to_what_is_missing(tmp_path, access):
    rows = [{"n": None}, {"n": "None"}, {"n": float("nan")}, {"n": "nan"}]
    for value, found in (("None", rows[1]), ("nan", rows[3])):
        source = local(tmp_path, rows=rows, where=(("n", value),))
        assert list(content.rows(source, access=access)) == [found]


@pytest.mark.parametrize(
    ("column", "shown"),
    [("bytes", "b'x'"), ("list", r"\[1\]"), ("none", r"Foreign\(kind='string'")],
)
def test_a_filter_on_what_is_no_text_is_refused(tmp_path, access, column, shown):
    odd = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    table = pa.table({"text": ["a"], "bytes": [b"x"], "list": [[1]], "none": odd})
    pq.write_table(table, tmp_path / "a.parquet")
    source = named(tmp_path / "a.parquet", where=((column, "x"),))
    with pytest.raises(ValueError, match=rf"a\.parquet', row 1: column '{column}' holds {shown}"):
        list(content.rows(source, access=access))
    # and a document of one
    with pytest.raises(ValueError, match=rf"row 1: column '{column}' holds {shown}.*; legal: text"):
        list(content.documents(named(tmp_path / "a.parquet", text_field=column), access=access))
    # nothing reads it: it does not matter
    assert list(content.documents(named(tmp_path / "a.parquet"), access=access)) == ["a"]


def test_parts_are_disjoint_and_complete(tmp_path, access):
    parts = [
        list(content.rows(local(tmp_path, part=Part(low=low, high=high, of=8)), access=access))
        for low, high in ((0, 1), (1, 5), (5, 8))
    ]
    assert sorted(row["text"] for part in parts for row in part) == sorted(
        row["text"] for row in ROWS
    )
    assert [len(part) for part in parts] == pytest.approx([25, 100, 75], abs=20)


def test_a_part_follows_the_content_not_the_place(tmp_path, access):
    part = Part(low=0, high=1, of=2)
    forward = list(content.rows(local(tmp_path, part=part), access=access))
    reordered = [dict(reversed(row.items())) for row in reversed(ROWS)]
    backward = list(content.rows(local(tmp_path, rows=reordered, part=part), access=access))
    assert forward == backward[::-1]


TWINS = [
    {"text": f"The text of number {n}", "label": n % 2, name: i, "uid": f"{name}-{i}"}
    for i, name in enumerate(("idx", "row", "n", "#", "Unnamed: 0"))
    for n in range(40)
]
HALVES = (Part(low=0, high=1, of=2), Part(low=1, high=2, of=2))


@pytest.mark.parametrize("way", ["file", "stream", "copy"])
@pytest.mark.parametrize("text_field", ["text", ""])
def test_rows_that_say_the_same_are_never_in_two_parts(
    tmp_path, access, monkeypatch, way, text_field
):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: iter(TWINS))
    online = Access(data_dirs=(tmp_path,), cache=access.cache)
    sides = []
    for part in HALVES:
        if way == "file":
            source = local(tmp_path, rows=TWINS, part=part, text_field=text_field)
        else:
            source = replace(hub(), part=part, text_field=text_field)
        if way == "copy":
            content.fetch(source, access=online)
        sides.append([row["text"] for row in content.rows(source, access=online)])
    assert not set(sides[0]) & set(sides[1])
    assert len(sides[0]) + len(sides[1]) == len(TWINS)
    assert all(len(side) > len(TWINS) / 4 for side in sides)


def test_a_part_that_tells_too_few_rows_apart_is_said_aloud(tmp_path, access, capfd):
    rows = [{"instruction": "Add the numbers.", "a": n, "b": 2} for n in range(50)]
    source = local(tmp_path, rows=rows, part=HALVES[0], text_field="")
    sizes = [len(list(content.rows(replace(source, part=part), access=access))) for part in HALVES]
    assert sorted(sizes) == [0, 50]
    said = capfd.readouterr().err
    assert "WARNING: source 'file://rows.jsonl': its 50 rows say 1 different things" in said
    assert "split_by" in said
    spread = replace(source, split_by=("a", "b"))
    assert 10 < len(list(content.rows(spread, access=access))) < 40
    assert capfd.readouterr().err == ""


def test_a_file_is_read_in_the_way_that_its_source_names(tmp_path, access):
    path = tmp_path / "a.tsv"
    path.write_text('text\tn\n"one\ttwo"\t1\n')
    assert list(content.documents(named(path, quoting="csv"), access=access)) == ["one\ttwo"]
    with pytest.raises(ValueError, match=r"'file://a\.tsv': a\.tsv, line 2: not 2 columns but 3"):
        list(content.documents(named(path), access=access))
    for uri in ("file://a.csv", "file://a.parquet", "hf://o/n.tsv"):
        with pytest.raises(ValueError, match=r"quoting 'csv' is for a \.tsv"):
            replace(hub(), uri=uri, digest="commit:" if uri[0] == "h" else "sha256:", quoting="csv")


def test_only_files_that_are_read_otherwise_than_before_get_other_ids():
    raised = {"file://a.tsv": 2, "file://b/a.txt": 2, "pypi://n==1/a.tsv": 2}
    same = dict.fromkeys(("file://a.csv", "file://a.jsonl", "file://a.txt.jsonl"), 1)
    for uri, semantics in (raised | same).items():
        source = replace(hub(), uri=uri, digest="sha256:0")
        assert semantics == source.SEMANTICS
        assert identity(source).get("semantics", 1) == semantics
        assert not {"split_by", "quoting"} & identity(source).keys()
    assert replace(hub(), uri="hf://owner/name/a.tsv").SEMANTICS == 1
    assert "split_by" in identity(replace(hub(), split_by=("text",)))


def test_a_text_keeps_no_editors_mark(tmp_path, access):
    (tmp_path / "a.yaml").write_bytes("\ufefftemplates: {}\n".encode())
    assert content.text(named(tmp_path / "a.yaml"), access=access) == "templates: {}\n"


def test_row_keys_are_pinned():
    """A change here moves rows between training and evaluation: raise the kinds' `semantics`."""
    assert content.row_key({"text": "naïve", "label": 1}).startswith("ccfd152b6fc8aeb7")
    assert content.row_key({"label": 1, "text": "naïve"}).startswith("ccfd152b6fc8aeb7")
    assert content.row_key({"label": "1", "text": "naïve"}) != content.row_key(
        {"label": 1, "text": "naïve"}
    )


def test_a_value_without_canonical_form_is_refused():
    with pytest.raises(
        ValueError, match=r"column 'text': .* of type builtins\.object has no canonical"
    ):
        content.row_key({"text": object()})


def test_share_is_even_and_independent_of_the_part():
    keys = [content.row_key(row) for row in ROWS]
    first = [key for key in keys if int(key, 16) % 2 == 0]
    held = [key for key in first if content.share(key, salt="held_out") < 0.5]
    assert 0.3 < len(held) / len(first) < 0.7


def test_an_altered_file_names_both_digests(tmp_path, access):
    source = local(tmp_path)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes() + b"\n")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=source.digest.removeprefix("sha256:")) as error:
        list(content.rows(source, access=access))
    assert found in str(error.value)


def test_an_altered_file_is_seen_after_a_good_look(tmp_path, access):
    source = local(tmp_path)
    list(content.rows(source, access=access))
    (tmp_path / "rows.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="has sha256"):
        list(content.rows(source, access=access))


def test_a_missing_file_names_where_it_was_looked_for(tmp_path, access):
    source = local(tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(ValueError, match=r"file://rows\.jsonl.*looked in: .*none, "):
        list(content.rows(source, access=access))


def test_a_name_that_leaves_the_data_directory(tmp_path):
    source = local(tmp_path)
    inside = Access(data_dirs=(tmp_path / "inside",), cache=tmp_path)
    (tmp_path / "inside").mkdir()
    outside = Source(
        uri="file://../rows.jsonl", digest=source.digest, text_field="", where=(), part=None
    )
    with pytest.raises(ValueError, match=r"without '\.\.'"):
        list(content.rows(outside, access=inside))


def test_bytes_that_are_not_utf8_are_named(tmp_path, access):
    (tmp_path / "latin.txt").write_bytes(b"na\xefve")
    source = Source(
        uri="file://latin.txt",
        digest=f"sha256:{hashlib.sha256(b'na' + bytes([0xEF]) + b've').hexdigest()}",
        text_field="text",
        where=(),
        part=None,
    )
    with pytest.raises(ValueError, match=r"'file://latin\.txt': latin\.txt, line 1: not UTF-8"):
        list(content.rows(source, access=access))
    with pytest.raises(ValueError, match=r"latin\.txt': not UTF-8"):
        content.text(source, access=access)


def test_documents_need_text(tmp_path, access):
    with pytest.raises(ValueError, match="need a text_field"):
        next(content.documents(local(tmp_path, text_field=""), access=access))
    with pytest.raises(
        ValueError,
        match=r"rows\.jsonl', row 1: column 'body' holds None; legal: text; columns: text",
    ):
        next(content.documents(local(tmp_path, text_field="body"), access=access))
    rows = [
        {"text": "a", "kind": "even"},
        {"text": 7, "kind": "odd"},
        {"text": None, "kind": "even"},
    ]
    with pytest.raises(ValueError, match="row 2: column 'text' holds 7"):
        list(content.documents(local(tmp_path, rows=rows), access=access))
    filtered = local(tmp_path, rows=rows, where=(("kind", "even"),))
    with pytest.raises(ValueError, match="row 3: column 'text' holds None"):
        list(content.documents(filtered, access=access))


def test_a_lone_surrogate_is_no_text(tmp_path, access):
    source = local(tmp_path, rows=[{"text": "\ud800"}])
    with pytest.raises(ValueError, match=r"row 1: column 'text' holds .*surrogates not allowed"):
        next(content.documents(source, access=access))


def test_unknown_schemes_are_refused_when_declared():
    with pytest.raises(ValueError, match="legal schemes are hf://, file://, pypi://, world://"):
        Source(uri="s3://x", digest="sha256:0", text_field="", where=(), part=None)


def test_world_of_another_version_is_refused(access):
    old = f"world:{world.SEMANTICS + 1}"
    source = Source(
        uri="world://text?documents=3&seed=1", digest=old, text_field="text", where=(), part=None
    )
    with pytest.raises(ValueError, match=f"'{old}', but the generator here is"):
        next(content.documents(source, access=access))


def test_world_documents_rows_and_templates(access):
    def source(uri):
        return Source(
            uri=f"world://{uri}",
            digest=f"world:{world.SEMANTICS}",
            text_field="text",
            where=(),
            part=None,
        )

    first = list(content.documents(source("text?documents=5&seed=1"), access=access))
    assert len(first) == 5
    assert first == list(content.documents(source("text?documents=5&seed=1"), access=access))
    family = next(iter(world.FAMILIES))
    assert next(content.rows(source(f"rows/{family}?items=4&seed=1"), access=access))
    assert "templates:" in content.text(source(f"templates/{family}"), access=access)
    with pytest.raises(ValueError, match="legal: world://text"):
        next(content.rows(source("tekst?documents=5"), access=access))


def hub(uri="hf://owner/name/config/train"):
    return Source(uri=uri, digest="commit:abc123", text_field="text", where=(), part=None)


def test_a_hub_data_set_streams_at_its_commit(access, monkeypatch):
    import datasets

    asked = {}

    def load_dataset(path, name=None, **options):
        asked.update(options, path=path, name=name)
        return datasets.Dataset.from_list(ROWS).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    online = Access(data_dirs=(), cache=access.cache)
    assert list(content.rows(hub(), access=online)) == ROWS
    assert asked == {
        "path": "owner/name",
        "name": "config",
        "split": "train",
        "revision": "abc123",
        "streaming": True,
    }
    list(content.rows(hub("hf://owner/name/test"), access=online))
    assert (asked["path"], asked["name"], asked["split"]) == ("owner/name", None, "test")
    list(content.rows(hub("hf://name/test"), access=online))
    assert (asked["path"], asked["name"], asked["split"]) == ("name", None, "test")


def test_a_hub_that_does_not_answer(access, monkeypatch):
    import datasets

    def load_dataset(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    online = Access(data_dirs=(), cache=access.cache)
    with pytest.raises(ValueError, match=r"'owner/name' at abc123.*no route"):
        list(content.rows(hub(), access=online))
    with pytest.raises(ValueError, match="this machine is offline"):
        list(content.rows(hub(), access=access))
    with pytest.raises(ValueError, match="legal: hf://OWNER/DATASET"):
        list(content.rows(hub("hf://name"), access=online))


@pytest.mark.parametrize(
    "error", [KeyError("a"), TypeError("b"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "c")]
)
def test_whatever_a_stream_raises_names_the_source_and_the_row(access, monkeypatch, error):
    import datasets

    def load_dataset(*_, **__):
        yield from ROWS[:3]
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    online = Access(data_dirs=(), cache=access.cache)
    with pytest.raises(ValueError, match=rf"hf://owner.* after row 3 \({type(error).__name__}: "):
        list(content.rows(hub(), access=online))


def test_images_of_a_stream_stay_bytes_that_a_copy_keeps(access, monkeypatch):
    import datasets

    image = {"bytes": b"\x89PNG no image", "path": None}
    features = datasets.Features({"text": datasets.Value("string"), "image": datasets.Image()})
    made = datasets.Dataset.from_dict({"text": ["a b"], "image": [image]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: made.to_iterable_dataset())
    online = Access(data_dirs=(), cache=access.cache)
    assert list(content.rows(hub(), access=online)) == [{"text": "a b", "image": image}]
    content.fetch(hub(), access=online)
    assert list(content.rows(hub(), access=access)) == [{"text": "a b", "image": image}]


def test_one_text_is_not_filtered(tmp_path, access):
    with pytest.raises(ValueError, match="no rows to filter"):
        content.text(local(tmp_path, where=(("kind", "odd"),)), access=access)


def test_overlap_is_counted_and_dropped(tmp_path, access):
    excluded = ngrams.excluded_texts([local(tmp_path, rows=ROWS[:3])], access=access)
    texts = ["Number 0!", "<br />number<br/>1", "number 7", "number 2 2"]
    found = ngrams.count(texts, excluded)
    assert (found.documents, found.shared, found.excluded) == (4, 2, 3)
    assert list(ngrams.without(texts, excluded)) == ["number 7", "number 2 2"]


def test_overlap_without_a_text_field_looks_at_every_text(tmp_path, access):
    rows = [{"premise": "One.", "label": 1, "hypothesis": "two"}]
    source = local(tmp_path, rows=rows, text_field="")
    excluded = ngrams.excluded_texts([source], access=access)
    assert ngrams.count(["one", "TWO", "1"], excluded).shared == 2
