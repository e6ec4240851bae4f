"""Every prompt's score beside what its answers score without the question."""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence.context_free import PromptRow, rows, summaries
from eval.report.grids import between, percent
from eval.report.material import Material
from study.show.table import Block, Details, Grid, Heading, Section, Text, line

CAPTION = (
    "Context-free: accuracy of the same answers ranked after an empty context, which comes from "
    "their wording alone; a prompt that scores no more than that has not been read. Means over the "
    "cells of a stage and their seeds, with the lowest and the highest cell. Between prompts: best "
    "less worst template of the task, per cell, then the mean. Twins score one half there by "
    "construction; greedy answers score what an empty context happens to be continued by."
)


def section(material: Material) -> Section | None:
    parts: list[Block] = []
    for panel in material.panels:
        found = rows(panel)
        if not found:
            continue
        if len(material.panels) > 1:
            parts.append(Heading(text=material.name(panel)))
        parts += _part(found, where=material.name(panel))
    if not parts:
        return None
    return Section(
        anchor="prompts",
        title="Prompts, with and without their question",
        name="Prompts",
        blocks=(Text(text=CAPTION, style="caption"), *parts),
    )


def _part(found: tuple[PromptRow, ...], *, where: str) -> Iterator[Block]:
    yield Grid(
        caption=f"Prompts: {where}",
        head=(
            ("finetuning", "w"),
            ("task", "w"),
            ("prompt", ""),
            ("cells", "n"),
            ("score, %", "n"),
            ("context-free, %", "n"),
            ("lowest to highest cell", "n"),
            ("guessing", "n"),
            ("between prompts, points", "n"),
        ),
        rows=tuple(
            line(
                each.stage,
                each.task,
                each.template or "–",
                str(each.cells),
                percent(each.score),
                percent(each.context_free),
                between(each.lowest, each.highest),
                percent(each.chance),
                percent(each.spread),
            )
            for each in summaries(found)
        ),
    )
    yield Details(
        summary=f"Every cell under every prompt of {where}", blocks=(_every(found, where),)
    )


def _every(found: tuple[PromptRow, ...], where: str) -> Grid:
    return Grid(
        caption=f"Prompts, cell by cell: {where}",
        head=(
            ("lineage", "w"),
            ("finetuning", "w"),
            ("tokens before finetuning", "n"),
            ("task", "w"),
            ("prompt", ""),
            ("items", "n"),
            ("score, %", "n"),
            ("context-free, %", "n"),
            ("its 95% interval (items)", "n"),
        ),
        rows=tuple(
            line(
                each.cell,
                each.stage,
                f"{each.tokens:,}",
                each.task,
                each.template or "–",
                f"{each.items:,}",
                percent(each.score),
                percent(each.context_free),
                between(each.low, each.high),
            )
            for each in found
        ),
    )
