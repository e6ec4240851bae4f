r"""The report's tables as one LaTeX document (booktabs, longtable) that pdflatex compiles.

Owns escapes: nothing of a run may be a command. Figures stand beside the report as PDF files and
are included where they are; each table between its `\begin{longtable}` and its end can be copied
into a paper.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from study.show.table import (
    Block,
    Code,
    Details,
    Drawing,
    Grid,
    Heading,
    Hole,
    Lines,
    Report,
    Text,
)

_PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage[a3paper,landscape,margin=15mm]{geometry}
\usepackage{array}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{longtable}
\setlength{\parindent}{0pt}
\setlength{\parskip}{5pt}
\setlength{\tabcolsep}{4pt}
\setlength{\LTleft}{0pt}
\raggedright
"""

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": r"{-}",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "−": r"$-$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "·": r"$\cdot$",
    "…": r"\dots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "½": r"$\frac12$",
    "¼": r"$\frac14$",
    "¾": r"$\frac34$",
    "√": r"$\surd$",
    "σ": r"$\sigma$",
    "µ": r"$\mu$",
}


def latex(report: Report) -> str:
    """A whole document: sections, sentences, tables and figures."""
    parts = [_PREAMBLE, r"\begin{document}", rf"{{\LARGE\bfseries {escape(report.title)}\par}}"]
    if report.banner:
        parts.append(rf"\textbf{{{escape(report.banner)}}}\par")
    parts.append(rf"{escape(report.subtitle)}\par")
    parts += _list(report.summary)
    for section in report.sections:
        parts.append(rf"\section*{{{escape(section.title)}}}")
        for block in section.blocks:
            parts += _block(block)
    parts.append(r"\end{document}")
    return "\n".join(parts) + "\n"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text(text=text, style=style):
            size = r"\small " if style == "caption" else ""
            yield rf"{{{size}{escape(text)}\par}}"
        case Heading(text=text):
            yield rf"\subsection*{{{escape(text)}}}"
        case Lines(items=items):
            yield from _list(items)
        case Hole(text=text):
            yield rf"\textbf{{hole}}: {escape(text)}\par"
        case Code(text=text):
            lines = (rf"\mbox{{}}{escape(line)}" for line in text.splitlines())
            yield "{\\ttfamily\\small " + "\\\\\n".join(lines) + "\\par}"
        case Drawing(name=name, title=title):
            file = rf"figures/{name}.pdf"
            yield (
                rf"\IfFileExists{{{file}}}{{\includegraphics[width=.6\linewidth]{{{file}}}"
                rf"\par}}{{\textit{{{escape(title)}}}\par}}"
            )
        case Grid():
            yield from _grid(block)
        case Details(summary=summary, blocks=blocks):
            yield rf"\subsubsection*{{{escape(summary)}}}"
            for each in blocks:
                yield from _block(each)


def _list(items: tuple[str, ...]) -> Iterator[str]:
    if items:
        yield r"\begin{itemize}"
        yield from (rf"\item {escape(each)}" for each in items)
        yield r"\end{itemize}"


def _grid(grid: Grid) -> Iterator[str]:
    """A longtable, then what its rows unfold."""
    if not grid.rows:
        return
    size, columns = _columns(grid)
    yield f"{{{size}"
    yield rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}"
    if grid.caption:
        yield rf"\multicolumn{{{len(grid.head)}}}{{@{{}}l}}{{\textbf{{{escape(grid.caption)}}}}}\\"
    yield r"\toprule"
    if grid.groups:
        yield from _groups(grid)
    yield " & ".join(_head(name, kind) for name, kind in grid.head) + r" \\"
    yield r"\midrule"
    yield r"\endhead"
    for place, row in enumerate(grid.rows):
        if place and "block" in row.style.split():
            yield r"\midrule"
        # A first cell that begins with a bracket must not be read as an option of `\\`.
        yield "{}" + " & ".join(escape(cell.text) for cell in row.cells) + r" \\"
    yield r"\bottomrule"
    yield r"\end{longtable}}"
    for row in grid.rows:
        if row.more is not None:
            yield from _block(row.more)


def _groups(grid: Grid) -> Iterator[str]:
    cells, rules, place = [], [], 1
    for name, width in grid.groups:
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
        if name:
            rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    yield " & ".join(cells) + r" \\"
    yield "".join(rules)


def _head(name: str, kind: str) -> str:
    align = "r" if kind == "n" else "l"
    return rf"\multicolumn{{1}}{{{align}}}{{\shortstack[{align}]{{{_broken(name)}}}}}"


def _broken(name: str) -> str:
    return r"\\".join(escape(line) for line in _lines(name))


def _lines(name: str) -> list[str]:
    """Headings of several words on several lines of about 14 letters."""
    lines: list[str] = []
    for word in name.split():
        if lines and len(lines[-1]) + len(word) < 14:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


LONG = 44
"""Letters from which a column of text wraps."""
LETTER = 5.1
GAP = 8.0
PAGE = 1090.0
LEAST = 80.0
"""Points: a footnote-sized letter, the space between columns, the text's width, a wrapped column
at least."""


def _columns(grid: Grid) -> tuple[str, str]:
    """(size of letters, column letters): long text shares what the rest leaves of the page."""
    widths = [
        max(
            *(len(each) for each in _lines(name)),
            *(len(row.cells[place].text) for row in grid.rows),
        )
        for place, (name, _) in enumerate(grid.head)
    ]
    long = [
        kind != "n" and letters > LONG for (_, kind), letters in zip(grid.head, widths, strict=True)
    ]
    fixed = sum(n * LETTER for n, wraps in zip(widths, long, strict=True) if not wraps)
    room = PAGE - GAP * len(widths)
    size, scale = (r"\footnotesize", 1.0) if fixed + LEAST * sum(long) <= room else (r"\tiny", 0.64)
    share = max(LEAST * scale, (room - fixed * scale) / max(1, sum(long)))
    wrapped = rf">{{\raggedright\arraybackslash}}p{{{min(share, 320.0):.0f}pt}}"
    letters = (
        "r" if kind == "n" else wrapped if wraps else "l"
        for (_, kind), wraps in zip(grid.head, long, strict=True)
    )
    return size, "".join(letters)


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line. A letter that the fonts lack is named."""
    return "".join(_letter(each) for each in " ".join(text.split()))


def _letter(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if " " <= letter <= "~" or "\u00c0" <= letter <= "\u00ff":
        return letter
    return f"[{_escaped_name(letter)}]"


def _escaped_name(letter: str) -> str:
    named = unicodedata.name(letter, f"U+{ord(letter):04X}").lower()
    return named.replace("-", "{-}")
