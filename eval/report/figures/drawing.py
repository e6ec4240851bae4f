"""From a matplotlib figure to a `Drawing`: one picture as SVG and as PDF, in the same bytes
whenever it is drawn.

Owns the style, colours (Okabe and Ito's, told apart without red-green vision) and markers that all
figures share; what has which, a domain says (`study.runs.reporting.Style`). Text stays text, so a
page is read aloud, searched and scaled. In the page, colours follow its light or dark scheme
(`inline`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from markupsafe import escape
from matplotlib.figure import Figure

from study.runs.cells import Cell
from study.runs.reporting import Style
from study.show.table import Drawing

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "v", "P", "X")
NO_MARKER = "D"
OTHER = "#555555"
INK = "#1b1b1b"
GRID = "#e3e3e3"
PAPER = "#ffffff"
POSITIVE = "#2166ac"
NEGATIVE = "#b2182b"

VARIABLES = {
    INK: "--ink",
    OTHER: "--soft",
    GRID: "--grid",
    PAPER: "--paper",
    POSITIVE: "--positive",
    NEGATIVE: "--negative",
    **{colour: f"--colour-{place}" for place, colour in enumerate(COLOURS, 1)},
}
"""The page's variable for each of the figures' colours (`eval/report/page.css`)."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "archstudy",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


@contextmanager
def figure_style() -> Iterator[None]:
    # its stubs list the legal keys one by one
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def colours(style: Style) -> dict[str, str]:
    """By key, in the domain's order; a key beyond the last colour has none of its own."""
    return dict(zip(style.colours, COLOURS, strict=False))


def markers(style: Style) -> dict[str, str]:
    """Likewise."""
    return dict(zip(style.markers, MARKERS, strict=False))


def colour_of(lineage: Cell, style: Style) -> str:
    return colours(style).get(style.of(lineage)[0], OTHER)


def marker_of(lineage: Cell, style: Style) -> str:
    return markers(style).get(style.of(lineage)[1], NO_MARKER)


def finish(figure: Figure, *, name: str, title: str, description: str) -> Drawing:
    """The figure in every form. name: of its files, and unique in a report: two figures of one page
    must not share ids.
    """
    figure.set_layout_engine("constrained")
    pdf = io.BytesIO()
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Creator": None})
    return Drawing(
        name=name,
        title=title,
        description=description,
        svg=_svg(figure, name=name, title=title, description=description),
        pdf=pdf.getvalue(),
    )


def _svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    opened = (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc"'
        f"{_attributes(text)}>"
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>'
    )
    return opened + text[text.index(">") + 1 :]


def _attributes(svg: str) -> str:
    return svg[len("<svg") : svg.index(">")]


def inline(svg: str) -> str:
    """A figure for a page: its colours are the page's, its white ground is gone."""
    text = re.sub(
        r'(<g id="[^"]*patch_1">\s*<path [^>]*style="fill: )#ffffff', r"\1none", svg, count=1
    )
    for colour, variable in VARIABLES.items():
        text = re.sub(
            rf"(fill|stroke): {colour}\b", rf"\1: var({variable})", text, flags=re.IGNORECASE
        )
    return text


def slug(*parts: str) -> str:
    """A name for files and ids of lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-") or "figure"
