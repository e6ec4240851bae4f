"""The mutation tester: what it changes, what it never touches, and that its lists are current."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import mutants

SETTINGS = tomllib.loads((mutants.ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8"))


def _all(source):
    found = mutants.places(ast.parse(source))
    return [mutants.mutated(source, index).strip() for index in range(len(found))]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["x = a <= b"]),
        ("x = a and (not b)", ["x = a or not b", "x = a and b"]),
        ("x = -a * 2", ["x = -a / 2", "x = a * 2", "x = -a * 3"]),
        ("x += 0.0", ["x -= 0.0", "x += 1.0"]),
        ("f(a, key=True)", ["None", "f(a)", "f(a, key=False)"]),
        (
            "x = min(a[1:b])",
            ["x = max(a[1:b])", "x = min(a[:b])", "x = min(a[1:])", "x = min(a[2:b])"],
        ),
        ("x = [a for a in b if c]", ["x = [a for a in b if True]"]),
        ("if a:\n    raise b", ["if not a:\n    raise b", "if a:\n    pass"]),
        ("for a in b:\n    break", ["for a in b:\n    pass"]),
    ],
)
def test_each_place_is_changed_in_one_way(source, expected):
    assert _all(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "x = 'a' + 'b'",
        "x = f'{a + 1}'",
        "log_warning(a + 1)",
        "log.info(a + 1)",
        "assert a < 1",
        "x: Literal[1, 2]",
        "@dataclass(frozen=True)\nclass A:\n    pass",
        "if TYPE_CHECKING:\n    x = 1",
    ],
)
def test_words_invariants_and_types_are_never_changed(source):
    assert _all(source) == []


def test_a_sample_depends_on_its_seed_and_the_module_alone():
    module = next(iter(SETTINGS["modules"]))
    first = mutants.sample(module, each=5, seed=1)
    assert first == mutants.sample(module, each=5, seed=1)
    assert len({each["index"] for each in first}) == 5
    assert first != mutants.sample(module, each=5, seed=2)


def test_what_is_listed_is_still_there():
    for module, tests in SETTINGS["modules"].items():
        assert all((mutants.ROOT / path).exists() for path in [module, *tests]), module
    for each in SETTINGS.get("equal", []):
        source = (mutants.ROOT / each["module"]).read_text(encoding="utf-8")
        lines = [line.strip() for line in source.splitlines()]
        found = {(lines[line - 1], what) for line, what, _ in mutants.places(ast.parse(source))}
        assert (each["code"], each["what"]) in found, each
