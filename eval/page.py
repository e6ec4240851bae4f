"""The report's HTML: one page without a script, a font or an address outside itself.

Owns layout and captions. Everything that comes from a run is escaped by jinja2; only the figures,
which this package draws itself, are put in as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

_CSS = """
:root { --ink: #1b1b1b; --soft: #595959; --line: #d9d9d9; --paper: #ffffff; --shade: #f5f5f3; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 1.2rem 1.4rem 4rem; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 1.2rem 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .4rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p, li { max-width: 78ch; }
.banner { background: #fff3cd; border: 1px solid #d8b44a; color: #4d3800; padding: .55rem .9rem;
  border-radius: 4px; font-weight: 600; }
.soft { color: var(--soft); }
.caption { color: var(--soft); font-size: .88rem; max-width: 92ch; margin: .2rem 0 .8rem; }
nav a { margin-right: .9rem; }
a { color: #0b5394; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; margin: .5rem 0 .8rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .6rem .22rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); border-bottom: 1px solid #9a9a9a;
  vertical-align: bottom; }
td.n, th.n { text-align: right; }
td.n, td.w { white-space: nowrap; }
th { max-width: 11em; }
tr:has(+ tr.more) > td { border-bottom: none; }
td.c { min-width: 16em; }
tr.off td { color: var(--soft); font-style: italic; }
tr.block td { border-top: 2px solid #9a9a9a; }
.hole { background: repeating-linear-gradient(135deg, #f2f2f2 0 6px, #e4e4e4 6px 12px);
  color: #333; padding: .05rem .4rem; border-radius: 3px; }
.tag { display: inline-block; padding: .02rem .45rem; border-radius: 3px; border: 1px solid;
  font-size: .8rem; font-weight: 600; white-space: nowrap; }
.replicated { color: #0b5d3b; border-color: #0b5d3b; background: #e9f6ef; }
.contradicted { color: #8a2a0a; border-color: #8a2a0a; background: #fcefe9; }
.underpowered { color: #5a4a00; border-color: #a08a2a; background: #fdf8e3; }
.notrun { color: #555; border-color: #999; background: #f4f4f4; }
.above { color: #0b5d3b; font-weight: 600; }
.below { color: #8a2a0a; font-weight: 600; }
svg { max-width: 100%; height: auto; display: block; }
details > summary { cursor: pointer; color: #0b5394; font-size: .86rem; }
code { font-size: .9em; background: var(--shade); padding: 0 .2em; }
@media print { details { display: block; } nav { display: none; } }
"""

_BODY = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ css }}</style>
</head>
<body>
<main>
{% if banner %}<p class="banner" role="note">{{ banner }}</p>{% endif %}
<h1>{{ title }}</h1>
<p class="soft">{{ subtitle }}</p>
<ul>{% for line in summary %}<li>{{ line }}</li>{% endfor %}</ul>
<nav aria-label="sections">
{% for anchor, name in sections %}<a href="#{{ anchor }}">{{ name }}</a>{% endfor %}
</nav>

<h2 id="scores">Scores before and after finetuning</h2>
{% for part in parts %}
{% if parts|length > 1 %}<h3>{{ part.name }}</h3>{% endif %}
{% if part.headline %}
{{ part.headline }}
<p class="caption">Each line is a pretraining lineage at the token budget named beside it; a rule
separates unequal budgets, and lineages on two sides of it are not a comparison. Score: per task the
median over prompt templates, then the mean over the {{ part.headline_tasks }},
averaged over seeds and rescaled so that 0 is guessing and 1 is all right. Bars: {{ part.bars }}.
{% if part.off_objective %}Span-corruption models before finetuning have never continued a text;
their block is not an estimate of what they know.{% endif %} A model can be below 0: it then
prefers wrong answers more often than guessing would.</p>
{% elif not part.suite_rows %}
<p><span class="hole">hole</span> Nothing is scored on {{ part.name }} yet.</p>
{% endif %}
{{ grid(part.suite_head, part.suite_rows) }}
{% endfor %}

<h2 id="tasks">Task by task</h2>
<p class="caption">{{ task_note }}</p>
{% for part in parts %}
{% if parts|length > 1 %}<h3>{{ part.name }}</h3>{% endif %}
{% if part.families %}{{ part.families }}
<p class="caption">Accuracy (median over templates) of each cell; the dashed line is guessing. Tasks
marked stretch or probe do not count in the score above. Bars: {{ part.bars }}.</p>{% endif %}
{% for line in part.findings %}<p>{{ line }}</p>{% endfor %}
<details><summary>Every cell on every task, with tests</summary>
{{ grid(part.task_head, part.task_rows) }}
<p class="caption">{{ part.methods }}</p></details>
{% if part.bits_rows %}
<h3>Held-out prose</h3>
{{ grid(part.bits_head, part.bits_rows) }}
<p class="caption">Bits per byte of whole documents, lower is better; the unit is its own and enters
no score. Every document is scored after an empty context. That is how a full language model trains;
prefix and encoder-decoder models never trained without a prefix, and span-corruption models never
on running text, so this table ranks objectives and layouts together, and no cell's knowledge.
</p>{% endif %}
{% endfor %}

<h2 id="claims">Claims and their verdicts</h2>
<p class="caption">{{ claims_note }}</p>
{% for block in claim_blocks %}
{% if claim_blocks|length > 1 %}<h3>{{ block.name }}</h3>{% endif %}
{% if block.spread %}<p class="caption">{{ block.spread }}</p>{% endif %}
<div class="scroll"><table>
<thead><tr><th scope="col">claim</th><th scope="col">what the paper says</th>
<th scope="col">verdict here</th><th class="n" scope="col">p (Holm)</th></tr></thead>
<tbody>
{% for claim in block.claims %}
<tr><td class="w">{{ claim.id }}</td>
<td>{{ claim.text }}
{% if claim.reason %}<br><span class="soft">{{ claim.reason }}</span>{% endif %}</td>
<td class="w"><span class="tag {{ claim.style }}">{{ claim.verdict }}</span>
{% if claim.qualifier %}<br><span class="soft">{{ claim.qualifier }}</span>{% endif %}</td>
<td class="n">{{ claim.p }}</td></tr>
{% if claim.components %}<tr class="more"><td></td><td colspan="3"><details>
<summary>{{ claim.summary }}</summary>
{{ grid(component_head, claim.components) }}</details></td></tr>{% endif %}
{% endfor %}
</tbody></table></div>
{% else %}<p>The sweep declares no claims.</p>
{% endfor %}

<h2 id="curves">Learning curves</h2>
{% if curves %}{{ curves }}
<p class="caption">Validation loss on held-out data of each run's own objective. The panels have
different objectives and so different losses: a lower curve in one panel says nothing against a
curve in another. Dashed: adapted lineages, which begin where their parent stopped. One line a
seed.</p>
{% else %}<p><span class="hole">hole</span> No run has validated yet.</p>{% endif %}

{% if point_rows %}
<h2 id="mixers">Mixers: quality and cost</h2>
{% if quality %}{{ quality }}{% endif %}
<p class="caption">Accuracy of every cell against its training FLOPs and its parameters, both by
formula, with the intervals of the tables above. Filled: as many parameters as the attention model
of the same lineage, to 3 %, and the attention models themselves; open: others. Two mixers are
compared where they cost the same: filled points of one colour in the right column, and in the left
one those that the table calls equal in FLOPs. Architectures are drawn slightly apart.</p>
{{ grid(point_head, point_rows) }}
<h3>Measured cost against length</h3>
{% if growth %}{{ growth }}
{{ grid(growth_head, growth_rows) }}
<p class="caption">One layer of each model with its MLP (two layers in an encoder-decoder, one a
side), forward and backward, one document as long as the row: all of it to predict in a causal
decoder, else half of it read as a whole. Median of repeats on {{ measured }}. Lines and exponents:
least squares of log seconds on log tokens over all lengths shown; the error is that of the fit, and
a curve that bends towards its asymptote shows in it.</p>
{% else %}<p><span class="hole">hole</span> Nothing was measured beside this store:
<code>study mixers --measure SWEEP</code>.</p>{% endif %}
{% endif %}

<h2 id="ledger">Ledger</h2>
<p class="caption">Cost of each scored lineage from its first step. Lineages are compared at equal
tokens seen, which are rows times their length; the other columns show what that leaves unequal. Not
padding: what the rows held, as counted in training; with document masking span corruption gives
every document its own sentinels, so its rows hold more than the plain length. FLOPs are training
FLOPs by formula, forward and backward; an encoder-decoder of equal depth has more parameters than a
decoder and spends other FLOPs on the same tokens, and span corruption has loss on fewer of them.
{% if not point_rows %}This plan has no cells matched by parameters, by FLOPs or by loss tokens
unless two rows happen to agree.{% endif %}</p>
{{ grid(cost_head, cost_rows) }}
<details><summary>By stage and cell, and what sharing saved</summary>
{{ grid(total_head, total_rows) }}
<p>{{ sharing }}</p></details>

{% if adaptation_rows %}
<h2 id="adaptation">Adaptation</h2>
<p class="caption">Every tensor of a parent is accounted for: copied, converted, initialised or
dropped. The losses are of the adaptation's own objective at its first and last validation.</p>
{{ grid(adaptation_head, adaptation_rows) }}
{% endif %}

<h2 id="scoring">Scoring</h2>
<ul>{% for line in scoring %}<li>{{ line }}</li>{% endfor %}</ul>
{{ grid(end_head, end_rows) }}
<details><summary>Rows asked, skipped and truncated, by task and template</summary>
{{ grid(question_head, question_rows) }}
<p class="caption">Skipped rows are those that a template does not apply to, the same for every
cell. Truncated: items whose context lost tokens. Ties: items where several choices share the
highest score; a tie gives its share of a point.</p></details>

<h2 id="holes">Holes</h2>
{% if hole_rows %}{{ grid(hole_head, hole_rows) }}
<p class="caption">Planned scores that are not in the tables above. Means are over the seeds that
are there.</p>
{% else %}<p>None: every planned score is in the tables above.</p>{% endif %}

<h2 id="provenance">Provenance</h2>
<ul>{% for line in provenance %}<li>{{ line }}</li>{% endfor %}</ul>
<details><summary>Every run of the plan</summary>
{{ grid(run_head, run_rows) }}</details>
</main>
</body>
</html>
"""

_GRID = """<div class="scroll"><table>
<thead><tr>{% for name, kind in head %}<th scope="col" class="{{ kind }}">{{ name }}</th>
{%- endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr{% if row.style %} class="{{ row.style }}"{% endif %}>
{%- for cell in row.cells %}<td class="{{ head[loop.index0][1] }}">
{%- if cell.style %}<span class="{{ cell.style }}">{{ cell.text }}</span>
{%- else %}{{ cell.text }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
"""


def render(content: Mapping[str, Any]) -> str:
    """The page. Figures must be `Markup`; everything else is escaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    grid = environment.from_string(_GRID)

    def draw(head: Any, rows: Any) -> Markup:
        return Markup(grid.render(head=head, rows=rows)) if rows else Markup("")

    page = environment.from_string(_BODY)
    return page.render(css=Markup(_CSS), grid=draw, **content)
