import random
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.language.prompts import templates
from study.language.prompts.templates import Rendered, Skipped, Template


def template(jinja, *, answer_choices=None, id="t1"):  # noqa: A002
    return Template(
        name="a template",
        id=id,
        jinja=jinja,
        answer_choices=answer_choices,
        original_task=True,
        choices_in_prompt=False,
        metrics=("Accuracy",),
    )


def outcome(jinja, row=None, *, answer_choices=None, key="k", id="t1"):  # noqa: A002
    return template(jinja, answer_choices=answer_choices, id=id).outcome(row or {}, key=key)


def test_a_ranked_template():
    made = template(
        "{{text}} Good or bad? ||| \n{{ answer_choices [label] }}", answer_choices="bad ||| good"
    )
    row = {"text": "A fine film.", "label": 1}
    assert made.apply(row, key="k") == Rendered(inputs="A fine film. Good or bad?", targets="good")
    assert made.choices(row, key="k") == ["bad", "good"]


def test_an_open_ended_template():
    made = template("{{text}} ||| {{summary}}")
    row = {"text": "a", "summary": "b"}
    assert made.apply(row, key="k") == Rendered(inputs="a", targets="b")
    assert made.choices(row, key="k") is None


def test_choices_from_the_row():
    made = template(
        "{{q}} ||| {{answer_choices[0]}}", answer_choices='{{ options | join(" ||| ") }}'
    )
    row = {"q": "which?", "options": ["a b", "c"]}
    assert made.choices(row, key="k") == ["a b", "c"]


def test_most_frequent_and_zip():
    row = {"items": ["b", "a", "b", "a", "c"]}
    assert outcome("{{ items | most_frequent | join(',') }} ||| x", row) == Rendered(
        inputs="b,a", targets="x"
    )
    pairs = "{% for a, b in zip(items, items) %}{{a}}{{b}} {% endfor %} ||| x"
    assert outcome(pairs, row) == Rendered(inputs="bb aa bb aa cc", targets="x")


@pytest.mark.parametrize("text", ["a ||| b", "|||", "naïve 🙂 ||||", "{{ 1 + 1 }} {% raw %}"])
def test_a_rows_own_text_is_only_text(text):
    made = template("{{text}} . ||| {{ answer_choices[0] }}", answer_choices="{{text}} ||| no")
    row = {"text": text, "nested": [text, {"in": text}]}
    assert made.apply(row, key="k") == Rendered(inputs=f"{text} .", targets=text)
    assert made.choices(row, key="k") == [text, "no"]
    assert outcome("{{nested[0]}}+{{nested[1].in}} ||| x", row) == Rendered(
        inputs=f"{text}+{text}", targets="x"
    )


def test_nothing_is_truncated():
    text = "word " * 10_000 + "end"
    assert outcome("{{text}} ||| x", {"text": text}) == Rendered(inputs=text, targets="x")


def test_templates_that_change_their_row_change_a_copy():
    row = {"items": ["a"]}
    jinja = "{{ items.append('b') or '' }}{{items}} ||| x"
    first = outcome(jinja, row)
    assert isinstance(first, Rendered)
    assert first == outcome(jinja, row)
    assert row == {"items": ["a"]}


@pytest.mark.parametrize(
    ("jinja", "reason"),
    [
        ("{% if kind == 'cause' %}{{text}} ||| x{% endif %}", "not_applicable"),
        ("{{text}}", "parts"),
        ("{{text}} ||| a ||| b", "parts"),
        ("{{text}} ||| {{ '' }}", "empty"),
        (" ||| x", "empty"),
        ("{{missing}} ||| x", "undefined"),
        ("{{text}} ||| {{ items[7] }}", "undefined"),
        ("{{missing.field}} ||| x", "undefined"),
        ("{% for each in missing %}{% endfor %} a ||| x", "undefined"),
        ("{{ text + 1 }} ||| x", "error"),
        ("{{ 1 // 0 }} ||| x", "error"),
        ("{{ [] | choice }} ||| x", "error"),
    ],
)
def test_reasons(jinja, reason):
    row = {"text": "t", "kind": "effect", "items": []}
    found = outcome(jinja, row)
    assert isinstance(found, Skipped)
    assert found.reason == reason
    assert template(jinja).apply(row, key="k") is None


def test_a_value_that_is_not_there_may_be_tested():
    assert outcome("{% if missing %}{{missing}}{% else %}yes{% endif %} ||| x") == Rendered(
        inputs="yes", targets="x"
    )
    found = outcome("{% if missing %}no{% else %}yes{% endif %} ||| x")
    assert isinstance(found, Skipped), "that is no test but a decision"
    assert found.reason == "undefined"
    assert outcome("{{ missing | default('d') }} ||| x") == Rendered(inputs="d", targets="x")


def test_a_label_beyond_the_choices_is_no_empty_answer():
    found = outcome("a ||| {{answer_choices[label]}}", {"label": 2}, answer_choices="no ||| yes")
    assert isinstance(found, Skipped)
    assert found.reason == "undefined"


def test_choices_that_fail_skip_the_row():
    found = outcome("a ||| b", answer_choices="{{ missing }} ||| b")
    assert isinstance(found, Skipped)
    assert template("a ||| b", answer_choices="{{ missing }}").choices({}, key="k") is None


ESCAPES = [
    "{{ cycler.__init__.__globals__.os.getcwd() }} ||| x",
    "{{ ''.__class__.__mro__[1].__subclasses__() }} ||| x",
    "{{ (text | attr('__class__')).__mro__ }} ||| x",
    "{{ text.format.__globals__ }} ||| x",
    "{{ '{0.__class__.__init__}'.format(text) }} ||| x",
    "{{ self.__init__.__globals__ }} ||| x",
    "{{ zip.__self__ }} ||| x",
]


@pytest.mark.parametrize("jinja", ESCAPES)
def test_an_escape_is_skipped_and_named(jinja):
    found = outcome(jinja, {"text": "t"})
    assert isinstance(found, Skipped), found
    assert found.reason in ("forbidden", "undefined")


def test_the_known_escape_is_forbidden_by_name():
    found = outcome(ESCAPES[0])
    assert isinstance(found, Skipped)
    assert found.reason == "forbidden"
    assert "unsafe" in found.detail


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ range(10**8) | list }} ||| x",
        "{{ 'a' * 10**9 }} ||| x",
        "{{ [0] * 10**9 }} ||| x",
        "{{ 10**9 * 'a' }} ||| x",
        "{{ 9 ** 9999999 }} ||| x",
        "{{ 'a'.ljust(10**9) }} ||| x",
        "{{ 'a' | center(10**9) }} ||| x",
        "{{ 'a' | indent(10**9) }} ||| x",
        "{% for i in range(99999) %}{% for j in range(99999) %}aaaa{% endfor %}{% endfor %} ||| x",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %} a ||| x",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }} ||| x",
        "{% for i in range(10**9) %}{% endfor %} a ||| x",
        # loops over a row's own text multiply as those over numbers do, and print nothing
        "{% for a in text %}{% for b in text %}{% for c in text %}{% endfor %}{% endfor %}"
        "{% endfor %} a ||| x",
        # a loop over a list that it lengthens never ends
        "{% for each in items %}{{ items.append(each) or '' }}{% endfor %} a ||| x",
    ],
)
def test_a_bomb_hits_a_limit(jinja):
    found = outcome(jinja, {"text": "abcd " * 100, "items": [1]})
    assert isinstance(found, Skipped)
    assert found.reason == "limit"


def test_width_by_percent_format_is_forbidden():
    found = outcome("{{ '%999999999d' % 1 }} ||| x")
    assert isinstance(found, Skipped)
    assert found.reason in ("forbidden", "limit")


@pytest.mark.parametrize(
    "jinja",
    [
        "{% include '/etc/passwd' %} ||| x",
        # a template of its own name would include itself without end
        "{% include 'a template' %} ||| x",
        "{% extends 'a template' %} ||| x",
        "{% import 'a template' as t %}{{ t.f() }} ||| x",
    ],
)
def test_loading_other_templates_finds_nothing(jinja):
    found = outcome(jinja)
    assert isinstance(found, Skipped)
    assert found.reason == "error"


def test_a_recursive_loop_is_forbidden():
    found = outcome("{% for each in [[1]] recursive %}{{ loop(each) }}{% endfor %} ||| x")
    assert isinstance(found, Skipped)
    assert found.reason == "forbidden"


def test_loops_know_their_place():
    jinja = (
        "{% for e in items %}{{ loop.index }}/{{ loop.length }}{% if not loop.last %} {% endif %}"
        "{% else %}none{% endfor %} ||| x"
    )
    assert outcome(jinja, {"items": ["a", "b"]}) == Rendered(inputs="1/2 2/2", targets="x")
    assert outcome(jinja, {"items": []}) == Rendered(inputs="none", targets="x")
    chosen = "{% for e in items if e > 1 %}{{ e }}{% endfor %} ||| x"
    assert outcome(chosen, {"items": [1, 2, 3]}) == Rendered(inputs="23", targets="x")


WORDS = [f"w{n}" for n in range(50)]


@pytest.mark.parametrize("drawn", ["choice", "random"])
def test_choice_follows_template_and_document(drawn):
    row = {"words": WORDS}

    def draw(key, name="t1"):
        found = outcome(f"{{{{ words | {drawn} }}}} ||| x", row, key=key, id=name)
        assert isinstance(found, Rendered)
        return found.inputs

    assert draw("a") == draw("a")
    assert len({draw(str(n)) for n in range(20)}) > 10
    assert len({draw("a", name=str(n)) for n in range(20)}) > 10
    state = random.getstate()
    draw("b")
    assert random.getstate() == state, "the process's own random state is left alone"


def test_choice_among_constants_is_drawn_for_each_row():
    """A constant filter would be folded when the template is compiled: one draw for all rows."""
    jinja = "{{ ['a','b','c','d'] | choice }} ||| x"
    assert len({template(jinja).apply({}, key=str(n)) for n in range(30)}) == 4


def test_choices_are_those_of_the_prompt():
    made = template(
        "{{ answer_choices | join(' ') }} ||| {{ answer_choices[0] }}",
        answer_choices="{{ words | choice }} ||| {{ words | choice }}",
    )
    for n in range(20):
        rendered = made.apply({"words": WORDS}, key=str(n))
        choices = made.choices({"words": WORDS}, key=str(n))
        assert rendered is not None
        assert choices is not None
        assert rendered.inputs == " ".join(choices)


def test_choice_is_the_same_in_another_process():
    code = """
        from study.language.prompts.templates import Template
        made = Template(name="n", id="t1", jinja="{{ words | choice }} ||| x", answer_choices=None,
                        original_task=None, choices_in_prompt=None, metrics=())
        print(made.apply({"words": [f"w{n}" for n in range(50)]}, key="k").inputs)
    """
    there = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    here = outcome("{{ words | choice }} ||| x", {"words": WORDS})
    assert isinstance(here, Rendered)
    assert there.stdout.strip() == here.inputs


YAML = """
dataset: imdb
templates:
  11: !Template
    answer_choices: negative ||| positive
    id: a1
    jinja: '{{text}} ||| {{ answer_choices[label] }}'
    metadata: !TemplateMetadata
      choices_in_prompt: false
      metrics: [Accuracy]
      original_task: true
    name: 'With choices '
    reference: ''
  12: !Template
    answer_choices: null
    id: a2
    jinja: '{{text}} ||| {{text}}'
    metadata: !TemplateMetadata {}
    name: Copy
    reference: ''
"""


def test_promptsources_format():
    copy, ranked = templates.parse_templates(YAML, origin="x")
    assert (copy.name, copy.id, copy.answer_choices, copy.metrics) == ("Copy", "a2", None, ())
    assert (ranked.name, ranked.original_task, ranked.metrics) == (
        "With choices",
        True,
        ("Accuracy",),
    )


@pytest.mark.parametrize(
    "text",
    [
        "dataset: x",
        "templates: [1]",
        "[",
        YAML.replace("!TemplateMetadata {}", "!!python/object/apply:os.getcwd []"),
        YAML.replace("!Template\n", "!!python/name:os.getcwd\n", 1),
        YAML.replace("name: Copy", "name: 'With choices'"),
        YAML.replace("{{text}} ||| {{text}}", "{% if %}"),
        YAML.replace("answer_choices: null", "answer_choices: [a, b]"),
    ],
)
def test_anything_else_is_refused_by_name(text):
    with pytest.raises(ValueError, match=r"^templates\.yaml: "):
        templates.parse_templates(text, origin="templates.yaml")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("    id: a2\n", "", r"^t\.yaml: template 12: not promptsource's format \(no 'id'\)"),
        ("id: a2", "id: null", r"^t\.yaml: template 12: .*'id' is None; legal: text"),
        ("name: Copy", "name: ' '", r"^t\.yaml: template 12: .*'name' is ' '; legal: text"),
        ("    jinja: '{{text}} ||| {{text}}'\n", "", r"template 12: .*\(no 'jinja'\)"),
        ("{{text}} ||| {{text}}", "{% if %}", r"template 12: .*Expected an expression"),
        (
            "{{text}} ||| {{text}}",
            "{{text | shout}} ||| x",
            r"template 12: .*No filter named 'shout'",
        ),
        ("answer_choices: null", "answer_choices: '{{a |'", r"template 12: .*unexpected end of"),
        ("templates:", "entries:", r"^t\.yaml: not promptsource's format \(no 'templates'\)"),
        ("id: a1", "id: [a1", r"(?s)^t\.yaml: not promptsource's format .*line"),
    ],
)
def test_what_is_wrong_with_a_template_names_it(old, new, match):
    assert old in YAML
    with pytest.raises(ValueError, match=match):
        templates.parse_templates(YAML.replace(old, new), origin="t.yaml")


def test_named_templates_in_their_order(tmp_path):
    import hashlib

    from study.runs.source import Source
    from study.sources.content import Access

    (tmp_path / "t.yaml").write_text(YAML)
    source = Source(
        uri="file://t.yaml",
        digest=f"sha256:{hashlib.sha256(YAML.encode()).hexdigest()}",
        text_field="",
        where=(),
        part=None,
    )
    access = Access(data_dirs=(tmp_path,), cache=tmp_path)

    def names(*wanted):
        loaded = templates.load_templates(source, access=access, names=wanted)
        return [each.name for each in loaded]

    assert names() == ["Copy", "With choices"]
    assert names("With choices", "Copy") == ["With choices", "Copy"]
    with pytest.raises(ValueError, match="no template 'Copi'; legal: 'Copy', 'With choices'"):
        names("Copi")


@given(st.text(), st.text(min_size=1))
def test_one_space_or_none(inputs, targets):
    joined = templates.join_target(inputs, targets)
    if not inputs or inputs[-1].isspace():
        assert joined == targets
    else:
        assert joined == " " + targets


def test_a_row_with_the_reserved_column_is_refused():
    with pytest.raises(ValueError, match="'answer_choices'"):
        outcome("a ||| b", {"answer_choices": ["a"]})
