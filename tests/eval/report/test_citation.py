"""The citation file and the page's citation say the same."""

import re
import tomllib
from pathlib import Path

import yaml

from eval.report.sections import record
from study.language.reporting import REPORTING

BIBTEX = f"{record.SOFTWARE}\n\n{REPORTING.citation}"
ROOT = Path(__file__).parents[3]
REQUIRED = {"authors", "cff-version", "message", "title"}
LEGAL = REQUIRED | {
    "abstract",
    "keywords",
    "license",
    "references",
    "type",
    "version",
}
"""Of Citation File Format 1.2.0's keys, those that are used here."""


def test_the_file_is_a_citation_file_and_agrees_with_the_page():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert REQUIRED <= set(found) <= LEGAL
    assert found["cff-version"] == "1.2.0"
    assert found["type"] == "software"
    assert found["title"] == record.TITLE
    assert found["authors"] == [{"name": record.AUTHOR}]
    assert found["license"] == record.LICENSE
    assert found["version"] == record.VERSION
    assert f"{{{record.TITLE}}}" in BIBTEX
    (study,) = found["references"]
    assert " ".join(study["title"].split()) in " ".join(BIBTEX.split())
    for author in study["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in " ".join(BIBTEX.split())
    assert study["identifiers"][0]["value"].removeprefix("arXiv:") in BIBTEX


def test_the_version_is_the_package_s():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == record.VERSION
    assert project["license"] == record.LICENSE


def test_bibtex_closes_what_it_opens():
    text = re.sub(r"[^{}]", "", BIBTEX)
    while "{}" in text:
        text = text.replace("{}", "")
    assert text == ""
    assert len(re.findall(r"^@", BIBTEX, re.MULTILINE)) == 2
