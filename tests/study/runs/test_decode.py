"""Run files: what `show` prints comes back with its id, and everything else is refused by line."""

from dataclasses import dataclass, replace

import made_runs as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.runs.decode import DecodeError, Words, decode, decode_as, decode_file, encode, validate
from study.runs.source import Part
from study.runs.training import Adafactor, AdamW, Constant, Muon, Rsqrt, WarmupStableDecay


def _lines(run):
    return encode(run).splitlines(keepends=True)


def _edited(old, new, *, run=None):
    text = encode(run or made.pretrain())
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


@pytest.mark.parametrize("run", made.tree(), ids=lambda run: run.slug)
def test_every_kind_comes_back(run):
    again = decode(encode(run))
    assert again == run
    assert again.id == run.id


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        (
            Adafactor(learning_rate=0.01, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.0),
            Rsqrt(flat_steps=100),
        ),
        (
            Muon(
                learning_rate=0.02,
                momentum=0.95,
                weight_decay=0,
                adamw=AdamW(
                    learning_rate=1e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0
                ),
            ),
            WarmupStableDecay(warmup_steps=1, decay_steps=2),
        ),
    ],
)
def test_alternatives_of_a_union_come_back(optimizer, schedule):
    run = made.pretrain()
    run = replace(
        run, training=replace(run.training, optimizer=optimizer, schedule=schedule, clip_norm=None)
    )
    assert (decode(encode(run))).id == run.id


@given(
    slug=st.text(min_size=1, max_size=30),
    rate=st.floats(min_value=1e-300, max_value=1e300),
    seed=st.integers(),
)
def test_any_text_and_number_survives(slug, rate, seed):
    run = made.pretrain(slug, seed=seed, learning_rate=rate)
    try:
        text = encode(run)
    except UnicodeEncodeError:  # half a surrogate pair is no text
        return
    again = decode(text)
    assert again == run
    assert again.id == run.id


@pytest.mark.parametrize("word", ["1e-4", "1E-4", ".0001", "+1e-4", "0.0001", "0_0.0_001"])
def test_a_float_is_read_however_it_is_written(word):
    run = decode(_edited("learning_rate: 0.001", f"learning_rate: {word}"))
    assert run.training.optimizer.learning_rate == 1e-4
    assert run.id == made.pretrain(learning_rate=1e-4).id


def test_an_integer_is_a_float_where_one_is_declared():
    run = decode(_edited("weight_decay: 0.1", "weight_decay: 1"))
    assert type(run.training.optimizer.weight_decay) is float


def test_key_order_and_comments_do_not_matter():
    lines = _lines(made.pretrain())
    moved = "# a comment\n" + "".join([*lines[-1:], *lines[:-1]])
    assert decode(moved).id == made.pretrain().id


BAD = {
    # what is written for what: (old, new, words of the message)
    "unknown key": ("  steps: 10", "  stps: 10", ["'stps'", "Training", "did you mean 'steps'?"]),
    "far key": ("  steps: 10", "  qqqq: 10", ["'qqqq'", "legal: batch_size, clip_norm"]),
    "duplicate key": ("seed: 1\n", "seed: 1\nseed: 2\n", ["duplicate key 'seed'", "line"]),
    "missing key": ("seed: 1\n", "", ["lacks the key 'seed'"]),
    "float for int": ("steps: 10", "steps: 10.5", ["'10.5'", "an integer"]),
    "exponent for int": ("steps: 10", "steps: 1e1", ["'1e1'", "an integer"]),
    "octal": ("steps: 10", "steps: 010", ["'010'", "an integer"]),
    "text for float": ("learning_rate: 0.001", "learning_rate: high", ["'high'", "a number"]),
    "quoted number": ("steps: 10", "steps: '10'", ["in quotes", "an integer"]),
    "nan": ("learning_rate: 0.001", "learning_rate: .nan", ["'.nan'", "a number"]),
    "infinite": ("learning_rate: 0.001", "learning_rate: 1e999", ["too large"]),
    "yes for true": ("tied: true", "tied: yes", ["'yes'", "true or false"]),
    "yes for int": ("seed: 1\n", "seed: yes\n", ["'yes'", "an integer"]),
    "number for text": ("slug: pretrain", "slug: 12", ["'12'", "text", "quotes"]),
    "null for text": ("slug: pretrain", "slug:", ["''", "text"]),
    "null for int": ("seed: 1\n", "seed: null\n", ["'null'", "an integer"]),
    "unknown word": (
        "architecture: causal_decoder",
        "architecture: causal_decodr",
        ["'causal_decodr'", "did you mean 'causal_decoder'?"],
    ),
    "unknown kind": ("kind: FullLM", "kind: FullLn", ["'FullLn'", "did you mean 'FullLM'?"]),
    "kind of elsewhere": ("kind: FullLM", "kind: Constant", ["'Constant'", "FullLM"]),
    "no kind": ("  kind: FullLM\n", "", ["lacks the key 'kind'"]),
    "list for number": ("seed: 1\n", "seed: [1]\n", ["is a list", "an integer"]),
    "mapping for number": ("seed: 1\n", "seed: {a: 1}\n", ["is a mapping", "an integer"]),
    "number for list": ("where: []", "where: 3", ["'3'", "a list"]),
    "pair of three": ("where: []", "where: [[a, b, c]]", ["has 3 items", "legal: 2"]),
    "range": ("length: 32", "length: -32", ["-32", "positive"]),
    "other semantics": ("semantics: 1", "semantics: 9", ["semantics is 9", "computes 1"]),
    "python object": (
        "slug: pretrain",
        "slug: !!python/object/apply:os.system ['touch escaped']",
        ["python/object/apply", "legal: no tags"],
    ),
    "python name": ("seed: 1\n", "seed: !!python/name:os.system ''\n", ["python/name"]),
    "own tag": ("slug: pretrain", "slug: !mine pretrain", ["'!mine'", "legal: no tags"]),
    "anchor": ("slug: pretrain", "slug: &name pretrain", ["anchor", "'name'"]),
    "tab": ("seed: 1\n", "\tseed: 1\n", ["a tab", "legal: spaces"]),
    "not yaml": ("seed: 1\n", "seed: [1\n", ["not YAML"]),
    "two documents": ("seed: 1\n", "seed: 1\n---\nseed: 2\n", ["document"]),
    "merge key": ("seed: 1\n", "seed: 1\n<<: {seed: 3}\n", ["not a word"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_file_line_and_value(name):
    old, new, words = BAD[name]
    text = _edited(old, new)
    with pytest.raises(DecodeError) as caught:
        decode(text, name="runs/one.yaml")
    message = str(caught.value)
    assert message.startswith("runs/one.yaml:")
    for word in words:
        assert word in message


def test_a_parts_semantics_is_checked_and_a_written_file_without_one_computed_1(monkeypatch):
    old = encode(made.pretrain())
    monkeypatch.setattr(Constant, "SEMANTICS", 2, raising=False)
    new = encode(made.pretrain())
    assert new.count("semantics: 2") == 1
    assert decode(new, name="x.yaml") == made.pretrain()
    with pytest.raises(DecodeError, match=r"Constant.semantics is 1; this code computes 2"):
        decode(old, name="x.yaml")
    with pytest.raises(DecodeError, match=r"Constant.semantics is 3; this code computes 2"):
        decode(new.replace("semantics: 2", "semantics: 3"), name="x.yaml")
    # a file typed by hand states no semantics at all, and means today's
    by_hand = "".join(line for line in new.splitlines(True) if "semantics:" not in line)
    assert decode(by_hand, name="x.yaml") == made.pretrain()


def test_the_line_is_the_right_one():
    text = _edited("  steps: 10", "  stps: 10")
    line = text.splitlines().index("  stps: 10") + 1
    with pytest.raises(DecodeError, match=rf"^f\.yaml:{line}: "):
        decode(text, name="f.yaml")


def test_an_alias_bomb_is_refused_at_once():
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(20)
    )
    with pytest.raises(DecodeError, match="anchor or alias"):
        decode(bomb)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- 1\n", "word\n", "[" * 5000])
def test_what_is_no_run_at_all(text):
    with pytest.raises(DecodeError, match=r"^run:\d+: "):
        decode(text)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xff\xfe\x00kind")
    with pytest.raises(DecodeError, match="not UTF-8"):
        decode_file(path)


def test_validate_refuses_what_could_not_be_read_back():
    run = made.pretrain()
    validate(run)
    bad = [
        (replace(run, slug=lambda: 0), "Pretrain.slug"),
        (replace(run, seed=1.5), "Pretrain.seed"),
        (replace(run, seed=True), "Pretrain.seed"),
        (replace(run, model=replace(run.model, architecture="decoder")), "Model.architecture"),
        (replace(run, training=replace(run.training, clip_norm=float("nan"))), "clip_norm"),
        (replace(run, corpus=replace(run.corpus, documents=[1])), "Corpus.documents"),
        (
            replace(
                run,
                corpus=replace(
                    run.corpus,
                    documents=replace(
                        run.corpus.documents,
                        sources=(replace(made.ROWS, where=(("a", 1),)),),
                    ),
                ),
            ),
            r"Source.where\[0\]\[1\]",
        ),
    ]
    for value, where in bad:
        with pytest.raises(ValueError, match=where):
            validate(value)


def test_validate_reads_optional_values():
    source = replace(made.ROWS, part=Part(low=0, high=1, of=2))
    validate(replace(made.CORPUS, documents=replace(made.CORPUS.documents, sources=(source,))))


@dataclass(frozen=True, kw_only=True)
class Length:
    metres: float
    of: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    lengths: tuple[Length, ...]
    unit: float = 1.0


def _length(*, around, feet: float, **fields):
    if feet < 0:
        raise ValueError(f"feet is {feet}; legal: 0 or more")
    return Length(metres=feet * 0.3048 * around.get("unit", 1.0), **fields)


def _lengths(text):
    words = {Length: Words(fields_of=Length, made=_length, computed=("metres",))}
    return decode_as(text, Lengths, name="f", words=words)


def test_a_value_is_made_of_the_file_s_own_words_and_of_what_stands_around_it():
    text = "lengths:\n- {feet: 2, of: a}\n- {feet: 1, of: b, note: c}\n"
    one, two = _lengths(f"{text}unit: 10\n").lengths
    assert (one, two.of, two.note) == (Length(metres=6.096, of="a"), "b", "c")
    assert _lengths(text).lengths[1].metres == 0.3048


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{feet: 2}", "f:2: Length lacks the key 'of'"),
        ("{of: a}", "f:2: Length lacks the key 'feet'"),
        ("{feet: x, of: a}", "f:2: Length.feet is 'x'; legal: a number"),
        ("{feet: 1, of: a, metres: 3}", "f:2: unknown key 'metres' in Length"),
        ("{feet: 1, of: a, around: 3}", "f:2: unknown key 'around' in Length"),
        ("{feet: -1, of: a}", "f:2: feet is -1.0; legal: 0 or more"),
    ],
)
def test_words_are_read_as_strictly_as_fields(entry, told):
    with pytest.raises(DecodeError) as error:
        _lengths(f"lengths:\n- {entry}\n")
    assert str(error.value).startswith(told)
