"""The claims and their verdicts, one table a model size; a claim's contrasts unfold under it."""

from __future__ import annotations

from dataclasses import replace

from eval.claims.claim import digest
from eval.claims.comparison import Comparison, amount, compare, interval, paper_number, size
from eval.claims.decided import Block as Decided
from eval.claims.decided import Resolved
from eval.claims.verdicts import ClaimVerdict, ComponentVerdict
from eval.report import prose
from eval.report.material import Material
from study.show.columns import Columns, grid, label, number, sentence, words
from study.show.numbers import DASH, between, counted, difference, p_value, points
from study.show.table import Block, Cell, Details, Grid, Heading, Section, Text, hole


def claims_section(material: Material) -> Section:
    parts: list[Block] = [
        Text(text=prose.claims_note(material.claims, digest(material.claims)), style="caption")
    ]
    for block in material.verdicts:
        if len(material.verdicts) > 1:
            parts.append(Heading(text=block.name))
        if block.spread:
            parts.append(Text(text=block.spread, style="caption"))
        parts.append(_claims(block))
    if not material.verdicts:
        parts.append(Text(text="The sweep declares no claims."))
    return Section(
        anchor="claims", title="Claims and their verdicts", name="Claims", blocks=tuple(parts)
    )


def _claims(block: Decided) -> Grid:
    columns: Columns[ClaimVerdict] = (
        label("claim", lambda each: each.claim.id),
        sentence("what the paper says", lambda each: each.claim.text),
        label("verdict here", lambda each: _verdict(block.resolved(each))),
        words("note", lambda each: _brief(_note(each, block))),
        words("at equal FLOPs", lambda each: _brief(block.resolved(each).equal_flops)),
        number("p (Holm)", lambda each: p_value(each.p)),
    )
    found = grid(
        columns, block.verdicts, caption=f"Claims{f': {block.name}' if block.name else ''}"
    )
    unfolding = tuple(
        replace(row, more=_contrasts(each, block))
        for row, each in zip(found.rows, block.verdicts, strict=True)
    )
    return replace(found, rows=unfolding)


def _verdict(final: Resolved) -> Cell:
    style = final.verdict.split(" ")[0] if final.verdict != "not run" else "notrun"
    return Cell(text=final.verdict, style=f"tag {style}")


def _note(found: ClaimVerdict, block: Decided) -> str:
    return block.resolved(found).qualifier or (found.reason if found.verdict == "not run" else "")


def _brief(text: str) -> str:
    """The first of several long reasons; all of them unfold below the claim."""
    if len(text) <= 60:
        return text
    first, *rest = text.split("; ")
    return f"{first}; and {len(rest)} more" if rest else text


def _contrasts(found: ClaimVerdict, block: Decided) -> Details | None:
    if not found.components:
        return None
    whole = {"Note": _note(found, block), "At equal FLOPs": block.resolved(found).equal_flops}
    ran = sum(each.estimate is not None for each in found.components)
    contrasts = counted(len(found.components), "contrast")
    return Details(
        summary=f"{found.claim.id}: {ran} of {contrasts} ran",
        blocks=(
            _contrast_grid(found),
            *(
                Text(text=f"{name}: {text}", style="caption")
                for name, text in whole.items()
                if text != _brief(text)
            ),
        ),
    )


def _contrast_grid(found: ClaimVerdict) -> Grid:
    """Losses stand in nats, tokens to a loss as factors."""
    compared = {each: compare(each, alpha=found.alpha) for each in found.components}
    numbers = any(each.measure == "number" for each in compared.values())
    unit = "" if numbers else ", points"
    columns: Columns[ComponentVerdict] = (
        sentence("contrast", _name),
        words("suite", lambda each: each.contrast.suite),
        number("the paper's", lambda each: paper_number(compared[each]) or DASH),
        number(f"difference{unit}", lambda each: _difference(each, compared[each])),
        number("interval at the claim's level", lambda each: interval(compared[each])),
        number("margin", lambda each: size(each.contrast.margin, compared[each].measure)),
        words("verdict", lambda each: each.verdict),
        number(
            "detectable (80%)",
            lambda each: size(compared[each].minimum_effect, compared[each].measure),
        ),
        words("what would decide it", lambda each: compared[each].more or DASH),
        number("over tasks, 95%", _over_tasks),
        words("rests on", _basis),
    )
    return grid(columns, found.components, caption=f"Contrasts of {found.claim.id}")


def _name(found: ComponentVerdict) -> str:
    contrast = found.contrast
    shown = " (shown, does not decide)" if contrast.part == "shown" else ""
    return f"{contrast.name} ({contrast.kind.replace('_', ' ')}){shown}"


def _difference(found: ComponentVerdict, comparison: Comparison) -> Cell | str:
    if found.estimate is None:
        return hole(found.missing)
    return amount(found.estimate.value, comparison.measure)


def _over_tasks(found: ComponentVerdict) -> str:
    over = found.estimate.over_tasks if found.estimate else None
    if found.estimate is None or over is None:
        return DASH
    return between(*over, points if found.estimate.is_share else difference)


def _basis(found: ComponentVerdict) -> str:
    estimate = found.estimate
    if estimate is None:
        return ""
    parts = (
        f"{estimate.basis}, {counted(estimate.seeds, 'seed')}",
        estimate.note,
        "all its cells at chance" if estimate.floor else "",
    )
    return "; ".join(part for part in parts if part)
