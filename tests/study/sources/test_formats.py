import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.sources import formats


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_text_is_cut_at_blank_lines(tmp_path):
    path = written(tmp_path, "a.txt", "\none\ntwo\n\n \n\nthree  \r\nfour\r\n")
    assert list(formats.read(path)) == [{"text": "one\ntwo"}, {"text": "three  \nfour"}]


def test_jsonl_keeps_unicode_and_line_separators_inside_strings(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "naïve \u2028 🙂"}\n\n{"text": "b", "n": 1}\n')
    assert list(formats.read(path)) == [{"text": "naïve \u2028 🙂"}, {"text": "b", "n": 1}]


@pytest.mark.parametrize("line", ["{", "[1]", '"text"'])
def test_jsonl_names_the_bad_line(tmp_path, line):
    path = written(tmp_path, "a.jsonl", '{"text": "fine"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2"):
        list(formats.read(path))


def test_csv_types_are_decided_by_whole_columns(tmp_path):
    text = 'text,label,year\n"a, ""b""\nc",0,1984\n1984,-1,unknown\n'
    rows = list(formats.read(written(tmp_path, "a.csv", text)))
    assert rows == [
        {"text": 'a, "b"\nc', "label": 0, "year": "1984"},
        {"text": "1984", "label": -1, "year": "unknown"},
    ]


@pytest.mark.parametrize("value", ["01", "1.0", "", "1e3", "+1", "9" * 30])
def test_csv_numbers_that_would_not_be_written_back_stay_text(tmp_path, value):
    rows = list(formats.read(written(tmp_path, "a.tsv", f"x\ty\n1\t{value}\n")))
    assert rows == [{"x": 1, "y": value}]


@pytest.mark.parametrize("line", ["1", "1,2,3"])
def test_csv_names_a_line_of_another_width(tmp_path, line):
    with pytest.raises(ValueError, match=r"a\.csv, line 3: not 2 columns"):
        list(formats.read(written(tmp_path, "a.csv", f"x,y\na,b\n{line}\n")))


def test_csv_with_a_column_named_twice(tmp_path):
    with pytest.raises(ValueError, match="named twice: x, x"):
        list(formats.read(written(tmp_path, "a.csv", "x,x\n1,2\n")))


def test_parquet_columns_as_they_are(tmp_path):
    rows = [{"text": "a", "label": 1, "day": datetime.date(2020, 1, 2)}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert list(formats.read(tmp_path / "a.parquet")) == rows


def test_parquet_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"a\.parquet: not readable as Parquet"):
        list(formats.read(written(tmp_path, "a.parquet", "PAR1 no PAR1")))


BIBLE = '''
from pythonbible.bible.bible import Bible
open({marker!r}, "w")
bible = Bible(
    Version.WORLD_ENGLISH,
    """God`s word. It was good. Second chapter. Other book.""",
    {{1001001: 0, 1001002: 12, 1002001: 25, 2001001: 41}},
    {{1001001: 11, 1001002: 24, 1002001: 40, 2001001: 52}},
    {{Book.GENESIS: {{1: 2, 2: 1}}}},
    {{Book.GENESIS: "The First Book", Book.EXODUS: "The Second Book"}},
    {{Book.GENESIS: "Genesis", Book.EXODUS: "Exodus"}},
    False,
)
'''


def test_a_bible_is_read_by_chapter_and_never_run(tmp_path):
    marker = tmp_path / "ran"
    path = written(tmp_path, "bible.py", BIBLE.format(marker=str(marker)))
    assert list(formats.read(path)) == [
        {"book": "Genesis", "chapter": 1, "text": "God's word. It was good."},
        {"book": "Genesis", "chapter": 2, "text": "Second chapter."},
        {"book": "Exodus", "chapter": 1, "text": "Other book."},
    ]
    assert not marker.exists()


@pytest.mark.parametrize(
    "text", ["x = 1\n", "def (", "bible = Bible(1, f(), {}, {}, {1: 'a'})\n", "bible = Bible()\n"]
)
def test_other_python_is_no_data(tmp_path, text):
    with pytest.raises(ValueError, match=r"bible\.py: "):
        list(formats.read(written(tmp_path, "bible.py", text)))


def test_an_unknown_format_names_the_legal_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'\.pkl'; legal: \.txt, \.jsonl"):
        formats.read(written(tmp_path, "a.pkl", ""))


def rows_of(tmp_path, name, raw, **options):
    (tmp_path / name).write_bytes(raw)
    return list(formats.read(tmp_path / name, **options))


QUOTED = 'text\tlabel\nA plain film .\t0\n"Oh why asks the hero\t1\nand so it ends"\t1\n"good"\t0\n'


def test_a_tsv_has_no_quotes(tmp_path):
    """Five lines, four rows, every quotation mark where its writer put it."""
    assert rows_of(tmp_path, "a.tsv", QUOTED.encode()) == [
        {"text": "A plain film .", "label": 0},
        {"text": '"Oh why asks the hero', "label": 1},
        {"text": 'and so it ends"', "label": 1},
        {"text": '"good"', "label": 0},
    ]


def test_a_tsv_whose_source_says_so_is_quoted_as_csv(tmp_path):
    raw = b'text\tlabel\n"a ""b""\tc\nd"\t1\nplain\t0\n'
    assert rows_of(tmp_path, "a.tsv", raw, quoting="csv") == [
        {"text": 'a "b"\tc\nd', "label": 1},
        {"text": "plain", "label": 0},
    ]


@pytest.mark.parametrize(
    ("line", "told"), [("only", "not 2 columns but 1"), ("a\tb\tc", "not 2 columns but 3")]
)
def test_a_tsv_names_a_line_of_another_width(tmp_path, line, told):
    raw = f'text\tlabel\n"\t1\n{line}\n'.encode()
    with pytest.raises(ValueError, match=rf"a\.tsv, line 3: {told}; columns: text, label"):
        rows_of(tmp_path, "a.tsv", raw)


def test_odd_letters_are_text_in_a_tsv(tmp_path):
    raw = "text\tlabel\n\u2028a\x0bb\rc\x85\\t\t1\r\n \t0\n\n".encode()
    assert rows_of(tmp_path, "a.tsv", raw) == [
        {"text": "\u2028a\x0bb\rc\x85\\t", "label": 1},
        {"text": " ", "label": 0},
    ]


WRITTEN = {
    "a.txt": ("One\ntwo\n\nThree\n", [{"text": "One\ntwo"}, {"text": "Three"}]),
    "a.jsonl": ('{"text": "One"}\n{"text": "Two"}\n', [{"text": "One"}, {"text": "Two"}]),
    "a.csv": ("text,n\nOne,1\nTwo,2\n", [{"text": "One", "n": 1}, {"text": "Two", "n": 2}]),
    "a.tsv": ("text\tn\nOne\t1\nTwo\t2\n", [{"text": "One", "n": 1}, {"text": "Two", "n": 2}]),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["Unix", "Windows", "Mac"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\ufeff"], ids=["none", "one", "two"])
@pytest.mark.parametrize("name", WRITTEN)
def test_an_editors_mark_and_line_ends_are_no_part_of_the_text(tmp_path, name, mark, end):
    text, rows = WRITTEN[name]
    assert rows_of(tmp_path, name, (mark + text.replace("\n", end)).encode()) == rows


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_files_that_were_joined_leave_no_marks_inside(tmp_path, name):
    text, rows = WRITTEN[name]
    raw = ("\ufeff" + text + ("\n" if name == "a.txt" else "")).encode()
    assert rows_of(tmp_path, name, raw + raw) == rows + rows


def test_a_mark_inside_a_line_is_its_writers(tmp_path):
    raw = "\ufeffword\ufeffjoiner\n".encode()
    assert rows_of(tmp_path, "a.txt", raw) == [{"text": "word\ufeffjoiner"}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("name", WRITTEN)
def test_another_encoding_is_named(tmp_path, name, encoding):
    raw = ("\ufeff" * encoding.endswith("be") + WRITTEN[name][0]).encode(encoding)
    with pytest.raises(ValueError, match=rf"a\.\w+: .* that of {encoding[:6].upper()}; .* UTF-8"):
        rows_of(tmp_path, name, raw)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_line_that_is_no_utf8_is_named(tmp_path, name):
    raw = WRITTEN[name][0].encode().replace(b"T", b"\xff", 1)
    line = 1 + raw[: raw.index(b"\xff")].count(b"\n")
    with pytest.raises(ValueError, match=rf"{name}, line {line}: not UTF-8 .*0xff"):
        rows_of(tmp_path, name, raw)
    with pytest.raises(ValueError, match=rf"{name}, line {line}: not UTF-8"):
        rows_of(tmp_path, name, raw.replace(b"\n", b"\r"))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_byte_0_is_no_text(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}, line 2: a byte 0"):
        rows_of(tmp_path, name, WRITTEN[name][0].encode().replace(b"\n", b"\n\0", 1))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands twice in one object"),
        ('{"q": [{"b": 1, "c": 0, "b": 1}]}', "the key 'b' stands twice"),
        ("[" * 100_000, "not JSON"),
        ("9" * 5000, "not JSON"),
        ("{'a': 1}", "not JSON"),
        ("null", "a NoneType; legal: an object"),
    ],
)
def test_json_that_says_two_things_or_nothing_is_named(tmp_path, line, told):
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 2: .*{told}"):
        rows_of(tmp_path, "a.jsonl", f'{{"a": 1}}\n{line}\n'.encode())


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_table_without_a_header_is_named_and_one_without_rows_has_none(tmp_path, name):
    for raw in (b"", b"\xef\xbb\xbf", b"\n\r\n"):
        with pytest.raises(ValueError, match=rf"{name}: empty; legal: a line of column names"):
            rows_of(tmp_path, name, raw)
    assert rows_of(tmp_path, name, b"\ntext\n") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('x,y\na,b\n"c,d\n', "line 3: unexpected end of data"),
        ('x,y\n"a\nb",c\n"d"e,f\n', "line 4: "),
        ('x,y\n"a\nb",c\nd\n', "line 4: not 2 columns but 1"),
        ('x,"y\n', "line 1: unexpected end of data"),
    ],
)
def test_csv_names_the_line_where_a_malformed_row_begins(tmp_path, text, told):
    with pytest.raises(ValueError, match=rf"a\.csv, {told}"):
        rows_of(tmp_path, "a.csv", text.encode())


def test_a_bible_may_have_a_mark_and_another_encoding(tmp_path):
    text = BIBLE.format(marker=str(tmp_path / "ran")).replace("It was", "It wäs")
    for raw in (("\ufeff" + text).encode(), ("# coding: latin-1\n" + text).encode("latin-1")):
        rows = rows_of(tmp_path, "bible.py", raw)
        assert rows[0]["text"] == "God's word. It wäs good."
