"""Mixers: quality against cost, and measured cost against length. A plan of one mixer has none."""

from __future__ import annotations

from eval.report import mixing
from eval.report.figures import mixers as mixer_plots
from eval.report.material import Material
from study.show.table import Block, Heading, Hole, Section, Text, blocks
from study.store import times


def section(material: Material) -> Section | None:
    if not mixing.several(material.runs):
        return None
    cells = mixing.points(material.panels, material.scores)
    measured = times.load(material.store.root)
    growths = mixing.growths(material.runs, measured)
    if not cells:
        return None
    quality: tuple[Block, ...] = blocks(
        mixer_plots.quality(cells),
        Text(
            text="Accuracy of every cell against its training FLOPs and its parameters, both by "
            "formula, with the intervals of the tables above. Filled: as many parameters as the "
            "attention model of the same lineage, to 3 %, and the attention models themselves; "
            "open: others. Two mixers are compared where they cost the same: filled points of one "
            "colour in the right column, and in the left one those that the table calls equal in "
            "FLOPs. Architectures are drawn slightly apart.",
            style="caption",
        ),
        mixing.point_grid(cells),
        Heading(text="Measured cost against length"),
    )
    if not growths:
        hole = "Nothing was measured beside this store: study mixers --measure SWEEP."
        return _titled((*quality, Hole(text=hole)))
    note = (
        "One layer of each model with its MLP (two layers in an encoder-decoder, one a side), "
        "forward and backward, one document as long as the row: all of it to predict in a causal "
        "decoder, else half of it read as a whole. Median of repeats on "
        f"{mixing.where(measured)}. Lines and exponents: least squares of log seconds on log "
        "tokens over all lengths shown; the error is that of the fit, and a curve that bends "
        "towards its asymptote shows in it."
    )
    return _titled(
        quality
        + blocks(
            mixer_plots.growth(growths),
            mixing.growth_grid(growths),
            Text(text=note, style="caption"),
        )
    )


def _titled(found: tuple[Block, ...]) -> Section:
    return Section(anchor="mixers", title="Mixers: quality and cost", name="Mixers", blocks=found)
