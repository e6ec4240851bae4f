"""The report of a sweep: one self-contained HTML page, and the same as Markdown, LaTeX and CSV.

Owns which files there are. What they say is `eval.report.sections`'; how it looks is
`eval.report.page`'s, `eval.report.markdown`'s and `eval.report.latex`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from eval.evidence import calibration
from eval.report import page, prose
from eval.report.latex import latex
from eval.report.markdown import markdown
from eval.report.material import Budgets, Material, SweepLike, gather
from eval.report.sections import registry
from eval.report.sources import source_csv, sources
from study.show.table import Block, Details, Drawing, Report
from study.store.directory import Store, publish_file

PAGE = "report.html"


def write(sweep: SweepLike, *, store: Store, out_dir: Path, budgets: Budgets = "refuse") -> Path:
    """Write the report's files into `out_dir`; returns the page's path."""
    publish(files(gather(sweep, store=store, out_dir=out_dir, budgets=budgets)), out_dir)
    return Path(out_dir) / PAGE


def files(material: Material) -> dict[str, bytes]:
    """Every file of the report by its path in the report's folder, the page last."""
    report = build(material)
    found = sources(material.panels, store=material.store, out_dir=material.out_dir)
    drawn = {each.name: each for section in report.sections for each in _drawings(section.blocks)}
    content: dict[str, bytes] = {}
    for name, each in drawn.items():
        content[f"figures/{name}.svg"] = each.svg.encode()
        content[f"figures/{name}.pdf"] = each.pdf
    if compared := calibration.of_sweep(material.sweep, store=material.store):
        content["calibration.csv"] = calibration.as_csv(compared).encode()
    return (
        content
        | material.items
        | {
            "report.csv": material.scores.csv().encode(),
            "sources.csv": source_csv(found).encode(),
            "report.tex": latex(report).encode(),
            "report.md": markdown(report).encode(),
            PAGE: page.render(report).encode(),
        }
    )


def publish(content: Mapping[str, bytes], out_dir: Path) -> list[Path]:
    """Writes each file whole. All are made before the first is written, so that an end in between
    leaves files of one kind.
    """
    paths = []
    for name, data in content.items():
        path = Path(out_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        publish_file(path, data)
        paths.append(path)
    return paths


def build(material: Material) -> Report:
    """The report's sections, without looks."""
    sweep = material.sweep
    return Report(
        title=material.declared.get("title", sweep.title),
        subtitle=f"{sweep.path.name}: {sweep.title}",
        banner=material.declared.get("banner", ""),
        summary=tuple(
            prose.summary(material.panels, scores=material.scores, blocks=material.verdicts)
        ),
        sections=registry.sections_of(material),
    )


def _drawings(blocks: tuple[Block, ...]) -> Iterator[Drawing]:
    for block in blocks:
        if isinstance(block, Drawing):
            yield block
        elif isinstance(block, Details):
            yield from _drawings(block.blocks)
