"""The report's HTML: one page that asks nothing of any network, with its own style and script.

Owns how sections become HTML (`page.html`), style (`page.css`) and what the page does (`page.js`).
Everything that comes from a run is escaped by jinja2; only the figures, which this package draws
itself, are put in as they are. The page's policy lets no other script run than its own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

import jinja2
from markupsafe import Markup

from eval.report.figures.drawing import inline
from study.show.table import Drawing, Report

LARGEST, LEAST = 1.15 * 4 / 3, 1.15
"""Pixels for a point of a figure: it grows with its page up to the one, and below the other, at
which its smallest letters (7.5 points) can just be read, it scrolls instead of shrinking further.
"""


def render(report: Report) -> str:
    """The page."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    script = _asset("page.js")
    return environment.from_string(_asset("page.html")).render(
        report=report,
        css=Markup(_asset("page.css").replace("@dark", _asset("page-dark.css"))),
        script=Markup(script),
        script_hash=_policy_hash(script),
        drawn=lambda svg: Markup(inline(svg)),
        sized=_sized,
    )


def _asset(name: str) -> str:
    return resources.files("eval.report").joinpath(name).read_text(encoding="utf-8")


def _policy_hash(script: str) -> str:
    """As a content security policy names an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _sized(drawing: Drawing) -> Markup:
    """The widths between which a figure grows with its page."""
    found = re.search(r'width="([\d.]+)pt"', drawing.svg)
    points = float(found[1]) if found else 420.0
    width, least = (round(points * each) for each in (LARGEST, LEAST))
    return Markup(f' style="--width: {width}px; --least: {least}px"')
