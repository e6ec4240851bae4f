"""The microworld's address space: pure functions of a query, in promptsource's format."""

import hashlib
import json
import subprocess
import sys

import pytest
import yaml

from study.language import world
from study.language.data import tokenizer
from study.language.prompts import templates
from study.language.world.scenes import ACTIONS, EFFECTS, MATERIALS, OBJECTS, WITHHELD, withheld_for

GOLDEN = {
    "text": "9884a839d662d228",
    "rows/who": "722b320ae249efa0",
    "templates/who": "ae3d3a479cbf9f4d",
    "rows/where": "704b8e7353044959",
    "templates/where": "df6a959ee4bcc297",
    "rows/material": "b581c1d4b0c3b7b8",
    "templates/material": "09bac1a065755149",
    "rows/topic": "96241fd84332b353",
    "templates/topic": "edb2d7d7b6fb71a2",
    "rows/order": "407ee9f7bf5595e2",
    "templates/order": "402486c9b40f6c9b",
    "rows/check": "924aec41cc8ad9d6",
    "templates/check": "1cfce5c34a198b6c",
    "rows/effect": "a314c0393ea309f2",
    "templates/effect": "8c5e0862925ab54a",
    "rows/cause": "0507092674b52c09",
    "templates/cause": "f4b3bfe5519f258c",
    "rows/similar": "f94275647801ab82",
    "templates/similar": "019bd9e9c326c607",
    "rows/ending": "b70c0738eb8b0cad",
    "templates/ending": "6517aa472d3dc031",
    "rows/referent": "b65f93ea9e04190e",
    "templates/referent": "fd724fdb2e377371",
    "rows/last_word": "1be5ec77132ab3f1",
    "templates/last_word": "cc7589ca33311f6c",
    "rows/thank": "9669bd8a3bf020d4",
    "templates/thank": "2f07f246f5d1cd1a",
}


def sample(name):
    if name == "text":
        return list(world.documents({"documents": "200", "seed": "1"}))
    kind, _, family = name.partition("/")
    if kind == "rows":
        return list(world.rows(family, {"items": "40", "seed": "7"}))
    return world.templates_yaml(family)


def digest(name):
    return hashlib.sha256(json.dumps(sample(name), sort_keys=True).encode()).hexdigest()[:16]


NAMES = [
    "text",
    *(f"{kind}/{family}" for family in world.FAMILIES for kind in ("rows", "templates")),
]


def test_what_the_generator_gives_is_golden():
    """When this goes red on purpose, raise SEMANTICS with it: ids of runs carry `world:N`."""
    assert world.SEMANTICS == 1
    assert {name: digest(name) for name in NAMES} == GOLDEN


def test_a_document_does_not_depend_on_the_corpus_size_nor_on_the_process():
    few = list(world.documents({"documents": "30", "seed": "4"}))
    assert few == list(world.documents({"documents": "60", "seed": "4"}))[:30]
    program = (
        "from study.language import world; "
        "print('\\n'.join(world.documents({'documents': '30', 'seed': '4'})))"
    )
    for hash_seed in ("1", "2"):
        output = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        assert output.splitlines() == few


def test_twenty_five_laws_and_forty_withheld_pairs():
    assert len(MATERIALS) == len(ACTIONS) == 5
    assert len(OBJECTS) == len(set(OBJECTS)) == len(WITHHELD) == 40
    outcomes = [each for row in EFFECTS.values() for each in row]
    assert len(outcomes) == len(set(outcomes)) == 25
    for material in MATERIALS:
        for action in ACTIONS:
            assert len(withheld_for(material, action)) in (1, 2)


@pytest.mark.parametrize("family", list(world.FAMILIES))
def test_four_templates_render_every_row(family):
    parsed = templates.parse_templates(world.templates_yaml(family), origin=family)
    assert len(parsed) == len({each.name for each in parsed}) == 4
    for row in world.rows(family, {"items": "20", "seed": "5"}):
        json.dumps(row)
        for template in parsed:
            rendered = template.apply(row, key="k")
            assert rendered.targets == row["choices"][row["label"]]
            assert "{" not in rendered.inputs
            assert template.choices(row, key="k") == row["choices"]


def test_templates_are_written_as_promptsource_writes_them():
    text = world.templates_yaml("effect")
    assert ": !Template\n" in text
    assert "metadata: !TemplateMetadata\n" in text
    plain = yaml.safe_load(text.replace("!TemplateMetadata", "").replace("!Template", ""))
    assert plain["dataset"] == "world/effect"
    for identity, template in plain["templates"].items():
        assert template["id"] == identity
        assert set(template) == {
            "answer_choices",
            "id",
            "jinja",
            "metadata",
            "name",
            "reference",
        }
        assert set(template["metadata"]) == {"choices_in_prompt", "metrics", "original_task"}


def test_a_small_vocabulary_covers_whole_words_and_choices_are_equal_in_tokens():
    documents = list(world.documents({"documents": "8000", "seed": "1"}))
    trained = tokenizer.train(documents, vocab_size=656, sentinels=16)
    words = {word.strip(".,:?") for document in documents for word in document.split()}
    assert len(words) < 300
    assert {word for word in words if len(trained.encode(f" {word}")) != 1} == set()
    for family in world.FAMILIES:
        for template in templates.parse_templates(world.templates_yaml(family), origin=family):
            for row in world.rows(family, {"items": "40", "seed": "6"}):
                lengths = {len(trained.encode(f" {each}")) for each in row["choices"]}
                assert len(lengths) == 1, (family, row["choices"])
                rendered = template.apply(row, key="k")
                assert len(trained.encode(rendered.inputs)) <= 80
                assert max(lengths) + 1 <= 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: world.documents({"documents": "3"}), "exactly the keys documents, seed"),
        (lambda: world.documents({"documents": "3", "seed": "-1"}), "natural number"),
        (lambda: world.rows("effects", {"items": "2", "seed": "1"}), "no family 'effects'"),
        (lambda: world.rows("effect", {"items": "3", "seed": "1"}), "even number"),
        (lambda: world.templates_yaml("effects"), "no family 'effects'"),
    ],
)
def test_a_bad_query_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
