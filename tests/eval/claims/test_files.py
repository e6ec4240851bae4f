"""Claims files: what they say, and that everything else is refused by line."""

import math
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from eval.claims import files
from eval.claims.claim import Benchmark, digest
from eval.claims.files import find, load, read
from eval.evidence.contrast import Contrast
from study.runs.decode import DecodeError

ROOT = Path(__file__).parents[3]
MADE = """\
source: somebody
suites:
- {role: t0, name: T0-Eval, margin: 2.0}
claims:
- id: X1
  text: one beats another
  kind: greater
  components:
  - {suite: t0, high: CD:FLM > CD:MTF, low: ED:PLM > ED:MTF, published: -1.5}
- id: X2
  text: it learns sooner
  kind: ratio
  components:
  - {measure: tokens_to_loss, high: CD:FLM, low: ND:MLM > CD:FLM, published: 2}
"""


def file(tmp_path, text):
    path = tmp_path / "made.yaml"
    path.write_text(text)
    return path


def test_another_file_needs_no_code(tmp_path):
    one, two = load(file(tmp_path, MADE))
    assert (one.id, one.source, one.kind) == ("X1", "somebody", "greater")
    assert one.components == (
        Contrast(
            name="CD:FLM → CD:MTF > ED:PLM → ED:MTF",
            suite="t0",
            weights=((("CD:FLM", "CD:MTF"), 1.0), (("ED:PLM", "ED:MTF"), -1.0)),
            kind="greater",
            margin=0.02,
            published=(("T0-Eval", -1.5),),
        ),
    )
    assert two.components[0].margin == pytest.approx(math.log(1.1))
    assert two.components[0].published == (("", 2.0),)


def test_a_sweep_binds_roles_to_its_own_suites(tmp_path):
    (one, _) = load(file(tmp_path, MADE), {"t0": Benchmark(suite="microworld", margin=0.05)})
    assert (one.components[0].suite, one.components[0].margin) == ("microworld", 0.05)
    with pytest.raises(ValueError, match=r"no role 'eai' in the claims; legal: t0"):
        load(file(tmp_path, MADE), {"eai": Benchmark(suite="microworld", margin=0.05)})


@pytest.mark.parametrize("name", files.published())
def test_published_files(name):
    claims = load(name)
    assert len({each.id for each in claims}) == len(claims)
    assert all(each.deciding or each.reason for each in claims)
    assert digest(claims) == digest(load(name))


def test_two_benchmarks_in_one_suite_collapse():
    one = Benchmark(suite="micro", margin=0.05)
    together = {each.id: each for each in load("wang2022", {"eai": one, "t0": one})}
    apart = {each.id: each for each in load("wang2022")}
    counts = {name: (len(together[name].components), len(apart[name].components)) for name in apart}
    assert counts["C4"] == (3, 6)
    assert counts["C5"] == (5, 10)
    assert counts["C6"] == (5, 10)
    assert counts["C8"] == (8, 16)
    # the two benchmarks disagree in C6: T0-Eval's order is taken
    order = [each.weights[0][0][0] for each in together["C6"].components]
    assert order == ["ED:MLM", "ND:MLM", "ND:PLM", "CD:FLM", "CD:MLM"]
    # both benchmarks' numbers stay
    assert together["C5"].components[0].published == (("EAI-Eval", 0.3), ("T0-Eval", 5.4))


def test_the_digest_is_of_the_data(tmp_path):
    whole = digest(load(file(tmp_path, MADE)))
    said_otherwise = MADE.replace("source: somebody", "# a comment\nsource:   somebody")
    assert digest(load(file(tmp_path, said_otherwise))) == whole
    for old, new in (
        ("beats", "loses to"),
        ("margin: 2.0", "margin: 3.0"),
        ("-1.5", "-1.6"),
        ("ED:PLM > ED:MTF", "ND:PLM > ND:MTF"),
        ("kind: greater", "kind: equivalent"),
    ):
        assert digest(load(file(tmp_path, MADE.replace(old, new)))) != whole


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("redllm2025", "1ba1b72435ddd0aa"),
        ("wang2022", "05769ead320ebe27"),
        (ROOT / "sweeps" / "ladder_claims.yaml", "c60a41c42e886301"),
    ],
)
def test_what_was_declared_stays_so(name, first):
    """Records of declarations beside stores are found by these digests."""
    assert digest(load(name))[:16] == first


def test_a_margin_of_the_file_or_of_the_component(tmp_path):
    """Wherever the file's factor stands; points of a score, a factor of tokens."""
    for text in (f"ratio_margin: 1.3\n{MADE}", f"{MADE}ratio_margin: 1.3\n"):
        (_, two) = load(file(tmp_path, text))
        assert two.components[0].margin == pytest.approx(math.log(1.3))
    own = MADE.replace("published: -1.5", "margin: 3").replace("published: 2}", "margin: 1.2}")
    one, two = load(file(tmp_path, own), {"t0": Benchmark(suite="microworld", margin=0.05)})
    assert one.components[0].margin == 0.03
    assert two.components[0].margin == pytest.approx(math.log(1.2))
    with pytest.raises(DecodeError, match=r"ratio_margin is 0\.0; legal: above 1"):
        load(file(tmp_path, f"{MADE}ratio_margin: 0\n"))


def test_a_component_asks_what_its_claim_does_unless_it_says_otherwise(tmp_path):
    made = MADE.replace("kind: greater", "kind: order").replace("kind: ratio", "kind: equivalent")
    one, two = load(file(tmp_path, made.replace("published: 2}", "kind: not_greater}")))
    assert (one.components[0].kind, two.components[0].kind) == ("positive", "not_greater")
    assert two.components[0].name == "tokens to the loss: CD:FLM not > ND:MLM → CD:FLM"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: greater", "kind: grater", [":7:", "'grater'", "did you mean 'greater'?"]),
        ("margin: 2.0", "margin: wide", [":3:", "'wide'", "legal: a number"]),
        ("margin: 2.0", "margin: 0", [":3:", "margin is 0", "above 0"]),
        ("text: one", "txt: one", [":6:", "'txt'", "did you mean 'text'?"]),
        ("id: X2", "id: X1", [":10:", "second claim 'X1'"]),
        ("suite: t0,", "suite: t1,", [":9:", "no role 't1'", "legal: t0"]),
        ("suite: t0,", "", [":9:", "without a suite"]),
        ("low: ED:PLM > ED:MTF,", "", [":9:", "compares high with low"]),
        ("published: -1.5", "published: lots", [":9:", "'lots'"]),
        ("published: -1.5", "budget: 3", [":9:", "budget 3 of 1", "-1 to 0"]),
        ("measure: tokens_to_loss", "measure: seconds", [":14:", "'seconds'"]),
        ("published: 2}", "suite: t0}", [":14:", "tokens_to_loss is of losses"]),
        ("source: somebody", "source: !!python/object:os.x y", [":1:", "legal: no tags"]),
        ("source: somebody", "source: &x somebody", [":1:", "anchor"]),
        ("  kind: ratio", "  kind: ratio\n  kind: ratio", [":13:", "duplicate key 'kind'"]),
        (
            "  components:\n  - {measure",
            "  reason: none\n  components:\n  - {measure",
            [":10:", "1 deciding components and the reason 'none'"],
        ),
    ],
)
def test_anything_else_is_refused_by_line(tmp_path, old, new, words):
    assert old in MADE
    with pytest.raises(DecodeError) as error:
        read(file(tmp_path, MADE.replace(old, new, 1)))
    for word in words:
        assert word in str(error.value)


def test_roles_stand_before_they_are_used(tmp_path):
    head, claims = MADE.split("claims:\n")
    source, suites = head.split("suites:\n")
    with pytest.raises(DecodeError, match="stands before"):
        read(file(tmp_path, f"{source}claims:\n{claims}suites:\n{suites}"))


def test_names_and_paths_that_are_not_there():
    with pytest.raises(ValueError, match="did you mean 'wang2022'"):
        find("wang2021")
    with pytest.raises(ValueError, match="no such claims file"):
        find("nowhere.yaml")


def test_a_wheel_carries_the_published_files(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("kernels", "study", "eval"):
        shutil.copytree(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in files.published():
        assert f"eval/claims/papers/{name}.yaml" in names
    assert "study/language/suites/t0.toml" in names


def test_binding_does_not_change_what_was_read():
    file_ = read("wang2022")
    one = Benchmark(suite="micro", margin=0.05)
    assert read("wang2022", {"eai": one, "t0": one}).suites == file_.suites
    assert read("wang2022") == read("wang2022", {}) == file_
