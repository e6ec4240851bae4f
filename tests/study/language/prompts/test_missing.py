"""A missing value is no text, no answer, no choice and no decision, however a template reads it."""

import datetime
import decimal

import numpy as np
import pytest

from study.language.prompts.missing import is_blank, is_no_label, why_missing
from study.language.prompts.templates import Rendered, Skipped, Template

NAN = float("nan")
CHOICES = "no ||| yes"


def outcome(jinja, row, *, answer_choices=None):
    made = Template(
        name="a template",
        id="t1",
        jinja=jinja,
        answer_choices=answer_choices,
        original_task=True,
        choices_in_prompt=False,
        metrics=("Accuracy",),
    )
    return made.outcome(row, key="k")


def reason(jinja, row, *, answer_choices=None):
    found = outcome(jinja, row, answer_choices=answer_choices)
    assert isinstance(found, Skipped), found
    return found.reason


class NaT:
    """As pandas' own: unequal to itself."""

    def __ne__(self, other):
        return True


class NA:
    """As pandas' own: compared, it is neither true nor false."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


@pytest.mark.parametrize(
    "value",
    [None, NAN, np.float32("nan"), decimal.Decimal("nan"), b"hi", bytearray(b"hi"), NaT(), NA()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_missing(value):
    assert why_missing(value)


@pytest.mark.parametrize(
    "value",
    ["", "nan", "None", 0, -1, 0.0, False, [], {}, [None], datetime.date(2020, 1, 1), float("inf")],
    ids=repr,
)
def test_what_is_there(value):
    assert not why_missing(value)


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\u200b\ufeff", "\u00a0\u3000", "\u00ad\u2060", "\x00"]
)
def test_text_that_nobody_can_see_is_blank(text):
    assert is_blank(text)
    assert not is_blank(f"{text}a")


@pytest.mark.parametrize("text", ["a", " .", "0", "\u200ba", "🙂", "\u0301", "语"])
def test_text_that_can_be_seen(text):
    assert not is_blank(text)


def test_what_is_no_label():
    assert [
        each for each in (-1, -1.0, "-1", " -1 ", "-1.0", np.int64(-1)) if not is_no_label(each)
    ] == []
    assert not any(map(is_no_label, (0, 1, -2, "1", "- 1", True, None, NAN, [-1], "")))


PRINTS = [
    "{{t}}",
    "{{ t | join(' ') }}",
    "{{ t | string }}",
    "{{ t | list | join }}",
    "{{ t | map('string') | join }}",
    "{{ t | most_frequent }}",
    "{{ t | select | join }}",
    "{{ t | first }}",
    "{{ [t] | choice }}",
    "{{ [t] }}",
    "{{ {'a': t} }}",
    "{{ 'a' ~ t }}",
    "{{ '%s' | format(t) }}",
    "{{ '{}'.format(t) }}",
    "{{ ' '.join(t) }}",
    "{{ t | tojson }}",
    "{{ t | upper }}",
    "{% for each in t %}{{ each }}{% endfor %}",
    "{% set u = t %}{{ u }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(t) }}",
    "{% filter upper %}{{ t }}{% endfilter %}",
]


@pytest.mark.parametrize("value", [None, NAN, b"hi", [None], [NAN], [b"hi"]], ids=repr)
@pytest.mark.parametrize("printed", PRINTS)
def test_nothing_that_is_missing_is_printed(printed, value):
    assert reason(f"{{{{q}}}} so {printed} ||| x", {"q": "Q", "t": value}) in ("missing", "error")
    assert reason(f"{{{{q}}}} ||| so {printed}", {"q": "Q", "t": value}) in ("missing", "error")


def test_the_reason_names_the_column():
    found = outcome("{{ a.text }} ||| x", {"a": {"text": None}})
    assert found == Skipped(reason="missing", detail="'text' is null")
    found = outcome("{{ a.text }} ||| x", {"a": {"text": [b"x"]}})
    assert found == Skipped(reason="missing", detail="'text' is bytes, no text")
    found = outcome("x ||| {{ answer_choices[gold] }}", {"gold": -1}, answer_choices=CHOICES)
    assert found == Skipped(reason="unlabelled", detail="'gold' is -1: no label")


DECIDES = [
    "{{ answer_choices[X] }}",
    "{{ answer_choices[X | int] }}",
    "{{ answer_choices[(X | int) - 1] }}",
    "{{ ['no', 'yes'][X] }}",
    "{{ (answer_choices | list)[X] }}",
    "{{ answer_choices[X:] | first }}",
    "{{ answer_choices[1 - X] }}",
    "{{ answer_choices[-X] }}",
    "{{ answer_choices[X | abs] }}",
    "{{ answer_choices.pop(X) }}",
    "{{ {1: 'yes'}.get(X, 'no') }}",
    "{% set place = X %}{{ answer_choices[place] }}",
    "{% if X == 1 %}yes{% else %}no{% endif %}",
    "{% if 1 != X %}no{% else %}yes{% endif %}",
    "{% if X %}yes{% else %}no{% endif %}",
    "{% if not X %}no{% else %}yes{% endif %}",
    "{% if X > 0 %}yes{% else %}no{% endif %}",
    "{% if X in [1, 2] %}yes{% else %}no{% endif %}",
    "{% if X == 2 or X == 1 %}yes{% else %}no{% endif %}",
    "{% if X is eq 1 %}yes{% else %}no{% endif %}",
    "{% if X is true %}yes{% else %}no{% endif %}",
    "{% if X | int == 1 %}yes{% else %}no{% endif %}",
    "{% if X | string == '1' %}yes{% else %}no{% endif %}",
    "{% if X | lower == 'yes' %}yes{% else %}no{% endif %}",
    "{{ 'yes' if X == 1 else 'no' }}",
    "{{ 'yes' if X else 'no' }}",
    "{% for c in answer_choices %}{% if loop.index0 == X %}{{ c }}{% endif %}{% endfor %}",
    "{{ X }}",
]


@pytest.mark.parametrize("value", [None, NAN, -1, -1.0, "-1"], ids=repr)
@pytest.mark.parametrize("decides", DECIDES)
def test_nothing_is_decided_by_what_is_no_label(decides, value):
    jinja = f"{{{{q}}}} ||| {decides}"
    expected = ("unlabelled",) if value == -1 else ("missing",)
    if isinstance(value, str):
        expected = ("unlabelled", "error")  # no number is subtracted from a text
    for path, row in (("gold", {"gold": value}), ("a.label", {"a": {"label": value}})):
        found = reason(jinja.replace("X", path), {"q": "Q"} | row, answer_choices=CHOICES)
        assert found in expected, path


@pytest.mark.parametrize("decides", DECIDES)
def test_nothing_is_decided_by_a_column_that_is_not_there(decides):
    jinja = f"{{{{q}}}} ||| {decides.replace('X', 'gold')}"
    assert reason(jinja, {"q": "Q"}, answer_choices=CHOICES) == "undefined"


def test_no_prompt_is_decided_by_what_is_missing():
    jinja = "Write a {% if label %}good{% else %}bad{% endif %} review. ||| {{text}}"
    assert reason(jinja, {"text": "T", "label": None}) == "missing"
    assert outcome(jinja, {"text": "T", "label": 0}) == Rendered(
        inputs="Write a bad review.", targets="T"
    )


@pytest.mark.parametrize(
    ("jinja", "inputs"),
    [
        ("{% if hint %}Hint: {{hint}} {% endif %}{{q}} ||| x", "Q"),
        ("{% if hint %}Hint: {{hint}} {% else %}No hint. {% endif %}{{q}} ||| x", "No hint. Q"),
        ("{{ 'Hint: ' ~ hint if hint }}{{q}} ||| x", "Q"),
        ("{% if hint is defined %}{{hint}} {% endif %}{{q}} ||| x", "Q"),
        ("{% if hint is not none %}{{hint}} {% endif %}{{q}} ||| x", "Q"),
        ("{% if hint != none %}{{hint}} {% endif %}{{q}} ||| x", "Q"),
        ("{{ hint | default('-') }} {{q}} ||| x", "- Q"),
    ],
)
def test_a_template_may_ask_whether_there_is_something_to_print(jinja, inputs):
    for row in ({"q": "Q", "hint": None}, {"q": "Q", "hint": NAN}, {"q": "Q"}):
        assert outcome(jinja, row) == Rendered(inputs=inputs, targets="x")


def test_an_answer_may_leave_out_what_is_missing_and_say_nothing_in_its_place():
    row = {"title": "T", "rest": None}
    found = outcome("q ||| {{title}}{% if rest %}: {{rest}}{% endif %}", row)
    assert found == Rendered(inputs="q", targets="T")
    assert reason("q ||| {% if rest %}{{rest}}{% else %}none{% endif %}", row) == "missing"


@pytest.mark.parametrize("text", ["", " ", "\u200b"], ids=ascii)
def test_a_blank_text_is_no_answer_and_decides_none(text):
    row = {"q": "Q", "a": text}
    assert reason("{{q}} ||| {{a}}", row) == "empty"
    assert reason("{{q}} ||| The answer is {{a}}.", row) == "empty"
    assert reason("{{q}} ||| {% if a == 'yes' %}Yes{% else %}No{% endif %}", row) == "missing"
    assert reason("{{q}} ||| {{ ['x', 'y'][a | int] }}", row) == "missing"
    assert reason("{{q}} ||| x", row, answer_choices="{{a}} ||| x") == "empty"
    assert reason("{{a}} ||| x", row) == "empty"
    # templates ask for it, too
    found = outcome("{{q}} ||| {% if a == '' %}none{% else %}{{a}}{% endif %}", {"q": "Q", "a": ""})
    assert found == Rendered(inputs="Q", targets="none")


def test_a_template_that_knows_minus_one_may_use_it():
    jinja = (
        "{{q}} ||| {% if label == 1 %}good{% elif label == 0 %}so"
        "{% elif label == -1 %}bad{% endif %}"
    )
    assert outcome(jinja, {"q": "Q", "label": -1}) == Rendered(inputs="Q", targets="bad")
    # as promptsource's of SuperGLUE do
    glue = "{{q}} ||| {% if label != -1 %}{{ answer_choices[label] }}{% endif %}"
    assert reason(glue, {"q": "Q", "label": -1}, answer_choices=CHOICES) == "unlabelled"
    assert reason(glue, {"q": "Q", "label": None}, answer_choices=CHOICES) == "missing"
    both = "{{q}} ||| {% if start != -1 %}{{ answer_choices[label] }}{% endif %}"
    row = {"q": "Q", "start": 3, "label": -1}
    assert reason(both, row, answer_choices=CHOICES) == "unlabelled"


def test_minus_one_is_a_number_in_a_prompt():
    found = outcome("It is {{t}} degrees. ||| {{a}}", {"t": -1, "a": "cold"})
    assert found == Rendered(inputs="It is -1 degrees.", targets="cold")
    assert outcome("What is 1 - 2? ||| {{a}}", {"a": "-1"}) == Rendered(
        inputs="What is 1 - 2?", targets="-1"
    )


def test_a_place_that_the_template_names_may_count_from_the_end():
    row = {"items": ["a", "b", "c"], "n": -2}
    assert outcome("{{ items[-1] }} {{ items[:-1] | join }} ||| {{ items[-2:] | join }}", row) == (
        Rendered(inputs="c ab", targets="bc")
    )
    assert reason("q ||| {{ items[n] }}", row) == "unlabelled"
    assert reason("q ||| {{ items[n:] | join }}", row) == "unlabelled"
    assert reason("q ||| {{ items[0 - 1] }}", row) == "unlabelled"


def test_a_label_of_a_table_that_held_a_missing_one_is_a_whole_number():
    row = {"q": "Q", "label": 1.0}
    yes = Rendered(inputs="Q", targets="yes")
    for answer in ("answer_choices[label]", "answer_choices[label | int]", "['no', 'yes'][label]"):
        assert outcome(f"{{{{q}}}} ||| {{{{ {answer} }}}}", row, answer_choices=CHOICES) == yes
    row = {"q": "Q", "label": "1.0"}
    jinja = "{{q}} ||| {{ answer_choices[label | int] }}"
    assert outcome(jinja, row, answer_choices=CHOICES) == yes


@pytest.mark.parametrize("value", [True, False, "1", "", 0.5, "index", "pop", [1], 2], ids=repr)
def test_other_values_are_no_places_in_a_list(value):
    row = {"q": "Q", "label": value}
    jinja = "{{q}} ||| {{ answer_choices[label] }}"
    assert reason(jinja, row, answer_choices=CHOICES) == "undefined"
    # a list's own method is no answer either, and unequal to each
    jinja = "{{q}} ||| {% if answer_choices[label] == 'yes' %}Yes{% else %}No{% endif %}"
    assert reason(jinja, row, answer_choices=CHOICES) == "undefined"


@pytest.mark.parametrize(
    ("test", "value"),
    [("label == 1", "1"), ("label == '1'", 1), ("label == true", "True"), ("label in [0, 1]", "1")],
)
def test_text_and_numbers_are_never_equal_so_nothing_is_decided_by_it(test, value):
    jinja = f"{{{{q}}}} ||| {{% if {test} %}}Yes{{% else %}}No{{% endif %}}"
    assert reason(jinja, {"q": "Q", "label": value}) == "undefined"


def test_text_that_is_no_number_is_not_zero():
    jinja = "{{q}} ||| {{ answer_choices[label | int] }}"
    assert reason(jinja, {"q": "Q", "label": "?"}, answer_choices=CHOICES) == "undefined"
    found = outcome("{{ n | int(7) }} {{ '3' | int }} ||| x", {"n": "?"})
    assert found == Rendered(inputs="7 3", targets="x")


def test_a_field_that_a_row_lacks_is_no_method_of_its_holder():
    row = {"q": "Q", "d": {}}
    assert reason("{{q}} ||| {{ d.items }}", row) == "undefined"
    assert reason("{{q}} ||| {{ d.get('x') }}", row) == "undefined"
    decided = "{{q}} ||| {% if d.get('x') == 1 %}yes{% else %}no{% endif %}"
    assert reason(decided, row) == "undefined"


def test_none_and_nan_that_a_template_makes_are_no_text():
    assert reason("{{ [] | most_frequent }} ||| x", {}) == "missing"
    assert reason("{{ none }} ||| x", {}) == "missing"
    assert reason("{{ 0.0 * x }} ||| x", {"x": float("inf")}) == "missing"
    # a method's None is not printed where the template says what is
    found = outcome("{{ items.append('b') or '' }}{{ items | join }} ||| x", {"items": ["a"]})
    assert found == Rendered(inputs="ab", targets="x")
