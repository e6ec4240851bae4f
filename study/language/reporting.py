"""What language adds to a report: prompts as conditions, the style of architectures and objectives,
views without some tasks, n-gram overlap, and what guessing scores on the paper's suites.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.language.cells import OFF
from study.language.scores import contamination
from study.language.scores.ngrams import LONGEST, SHORTEST
from study.language.suites import baselines
from study.language.suites.baselines import LAMBADA, Baseline, Entry
from study.language.suites.eai import IN_T0_TRAIN
from study.language.values.suite import SuiteTask
from study.runs.cells import Cell
from study.runs.node import Evaluation, Run
from study.runs.reporting import OverlapSearch, Reporting, Results, Style, Words
from study.runs.suite import Suite, Task, View
from study.show.columns import Columns, fields, grid, label, number, words
from study.show.numbers import DASH, count, percent
from study.show.table import Block, Details, Section, Text
from study.store.directory import Store

OBJECTIVES = {"FLM": "full LM", "PLM": "prefix LM", "MLM": "span corruption"}
VIEWS = (
    View(
        name="without LAMBADA",
        without=LAMBADA,
        why="an open answer: where language models gain most, and not one of T0-Eval's",
    ),
    View(
        name="without leaked tasks",
        without=IN_T0_TRAIN,
        why="T0's training mixture holds these data sets",
    ),
    View(
        name="without either",
        without=(*LAMBADA, *IN_T0_TRAIN),
        why="neither LAMBADA nor a data set of the training mixture",
    ),
)
HITS = (
    f"A row is a hit when {LONGEST} words of its own text in a row (its fields in order, without "
    "any template's words; lower case, letters and digits alone) stand in a training document of "
    f"the lineage, pretraining or finetuning. Rows of {SHORTEST} to {LONGEST - 1} words must stand "
    "there whole; shorter ones say nothing. Without the hits: the same score over the other items, "
    "twins leaving together. A difference between the two is also one between kinds of items."
)
MICROWORLD = (
    "The microworld's texts are made from a few dozen sentence patterns, so that long rows share "
    "n-grams with the training text by construction. Overlap there is no leak; that the withheld "
    "pairs never occur in training is tested by itself."
)


def style_of(lineage: Cell) -> tuple[str, str]:
    """Architecture and objective of what a lineage was before finetuning."""
    for each in reversed(lineage):
        architecture, _, objective = each.split(" ")[0].partition(":")
        if objective in OBJECTIVES:
            return architecture, objective
    return "", ""


def _of_the_world(tasks: Iterable[Task]) -> str:
    made = (isinstance(each, SuiteTask) and each.rows.uri.startswith("world://") for each in tasks)
    return MICROWORLD if any(made) else ""


def scoring(suite: Suite, results: Results) -> Sequence[str]:
    """How a suite was scored."""
    first = results[0]
    options = first["scoring"]
    lengths = sorted({each["max_length"] for each in results})
    return (
        "One rule for every architecture: the summed log-likelihood of each answer after its "
        "prompt, through the layout that training uses; answers are ranked without length "
        "normalisation, ties share the point, and an answer that cannot be scored never wins.",
        f"{suite.name}: {_convention(first)}; the end of sequence "
        f"{'counts' if options['end_of_sequence'] else 'does not count'}; contexts beyond "
        f"{' or '.join(map(str, lengths))} tokens (the longest row of the lineage's training) "
        f"are cut on the {options['truncation']}, and counted below; {_precision(results)}"
        f"scorer version {first['scorer_version']}, aggregated by lm-eval {first['lm_eval']}.",
    )


def _precision(results: Results) -> str:
    """In what was computed, and where weights are stored in something else; older scores do not
    say.
    """
    computed = sorted({each["precision"] for each in results if "precision" in each})
    stored = sorted({name for each in results for name in each.get("stored", ())} - {*computed})
    also = f" (of weights stored in {', '.join(stored)} too)" if stored else ""
    return f"computed in {', '.join(computed)}{also}; " if computed else ""


_CONVENTIONS = {
    "study": "this project's convention",
    "lm_eval": "lm-eval's convention",
    "paper": "the paper's convention",
}


def _convention(results: Mapping[str, Any]) -> str:
    """Whose convention the options are, or the options themselves."""
    own = ", ".join(f"{name} {value}" for name, value in results["scoring"].items())
    return _CONVENTIONS.get(str(results.get("convention")), f"options of its own ({own})")


@dataclass(frozen=True, kw_only=True)
class Questions:
    """One task under one template, as every cell was asked it. counts are of one cell. unknown:
    items with letters that the tokenizer has no token for. altered: items that its tokens spell
    otherwise.
    """

    suite: str
    task: str
    template: str
    items: int
    twins: bool
    skipped: str
    truncated: str
    ties: str
    unknown: str
    altered: str
    declared_chance: float
    chance_of_choices: float


def questions(suite: Suite, results: Results) -> list[Questions]:
    """From the first scored cell; what a tokenizer and a length make of it, and ties, as the range
    over cells.
    """
    chances = {each.name: each.at_chance for each in suite.tasks}
    found = []
    for name, entry in results[0]["tasks"].items():
        all_cells = [each["tasks"][name] for each in results]
        found.append(
            Questions(
                suite=suite.name,
                task=entry["task"],
                template=entry["template"],
                items=entry["items"],
                twins=entry["twins"],
                skipped=", ".join(f"{n} {why}" for why, n in entry["skipped"].items()) or "0",
                truncated=_range(each["truncated"] for each in all_cells),
                ties=_range(each["ties"] for each in all_cells),
                # scores of before there was such a count
                unknown=_range(each.get("unknown", 0) for each in all_cells),
                altered=_range(each.get("altered", 0) for each in all_cells),
                declared_chance=chances[entry["task"]],
                chance_of_choices=entry["chance_of_choices"],
            )
        )
    return found


def _range(numbers: Iterable[int]) -> str:
    values = sorted(numbers)
    return str(values[0]) if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


QUESTIONS: Columns[Questions] = (
    *fields("suite"),
    label("task", lambda each: each.task),
    words("template", lambda each: each.template or DASH),
    number("items", lambda each: count(each.items)),
    words("twins", lambda each: "yes" if each.twins else "no"),
    *fields("skipped"),
    number("truncated, a cell", lambda each: each.truncated),
    number("ties, a cell", lambda each: each.ties),
    number("letters without a token, a cell", lambda each: each.unknown),
    number("altered by the tokenizer, a cell", lambda each: each.altered),
    number("guessing, declared", lambda each: percent(each.declared_chance)),
    number("guessing, from the choices", lambda each: percent(each.chance_of_choices)),
)
COUNTED = (
    "Skipped rows are those that a template does not apply to, the same for every cell. Truncated: "
    "items whose context lost tokens. Ties: items where several choices share the highest score; a "
    "tie gives its share of a point."
)


def counts(scored: Sequence[tuple[Suite, Results]]) -> tuple[Block, ...]:
    """Rows asked, skipped and truncated."""
    found = [each for suite, results in scored for each in questions(suite, results)]
    if not found:
        return ()
    title = "Rows asked, skipped and truncated, by task and template"
    table = grid(QUESTIONS, found, caption=title)
    return (Details(summary=title, blocks=(table, Text(text=COUNTED, style="caption"))),)


def sections(runs: Iterable[Run], *, store: Store) -> tuple[Section, ...]:
    """What guessing scores on the paper's own suites: its figures and the right ones."""
    suites = {run.suite.name for run in runs if isinstance(run, Evaluation)}
    found = [each for each in baselines.baselines() if each.suite in suites]
    if not found:
        return ()
    tables = [grid(MEANS, found, caption="Random baselines")]
    if "eai" in suites:
        entries = baselines.disputed()
        tables.append(grid(DISPUTED, entries, caption="Entries on which the baselines differ"))
    return (
        Section(
            anchor="guessing", title="What guessing scores", name="Guessing", blocks=tuple(tables)
        ),
    )


MEANS: Columns[Baseline] = (
    label("suite", lambda each: each.suite),
    label("baseline", lambda each: each.name),
    number("printed", lambda each: each.printed or DASH),
    number("mean of the entries, %", lambda each: f"{100 * each.value:.2f}"),
    number("entries", lambda each: str(each.entries)),
    *fields("why"),
)
DISPUTED: Columns[Entry] = (
    label("task", lambda each: each.task),
    number("plotting script", lambda each: percent(each.script)),
    number("the paper's Table 5", lambda each: percent(each.table_5)),
    number("corrected", lambda each: percent(each.corrected)),
    *fields("why"),
)

COST_NOTE = (
    "With document masking span corruption gives every document its own sentinels, so its rows "
    "hold more than the plain length. An encoder-decoder of equal depth has more parameters than a "
    "decoder and spends other FLOPs on the same tokens, and span corruption has loss on fewer of "
    "them."
)
CITATION = """@inproceedings{wang2022language,
  title     = {What Language Model Architecture and Pretraining Objective Work Best for
               Zero-Shot Generalization?},
  author    = {Wang, Thomas and Roberts, Adam and Hesslow, Daniel and Le Scao, Teven and
               Chung, Hyung Won and Beltagy, Iz and Launay, Julien and Raffel, Colin},
  booktitle = {Proceedings of the 39th International Conference on Machine Learning},
  year      = {2022},
  eprint    = {2204.05832},
  archiveprefix = {arXiv},
}"""

REPORTING = Reporting(
    words=Words(
        scores="Scores before and after finetuning",
        stage="finetuning",
        budget="tokens before finetuning",
        condition="prompt",
        conditions="prompts",
    ),
    style=Style(
        colours={"CD": "causal decoder", "ND": "non-causal decoder", "ED": "encoder-decoder"},
        markers=OBJECTIVES,
        of=style_of,
        loss_unit="nats per loss token",
        losses=OBJECTIVES | {"MTF": "multitask finetuning"},
    ),
    notes={
        OFF: "Span-corruption models before finetuning have never continued a text; their block is "
        "not an estimate of what they know."
    },
    views=VIEWS,
    overlap=OverlapSearch(
        trained_on=contamination.trained_on,
        read=contamination.read,
        caption=HITS,
        note=_of_the_world,
    ),
    scoring=scoring,
    counts=counts,
    sections=sections,
    cost_note=COST_NOTE,
    citation=CITATION,
)
