"""Benchmarks: what an op or a command costs beside its peers and limits, in one run.

One frame: `row.py` declares what is timed, beside what, and what was found; `clock.py` has the
turns; `table.py` has declared columns. `__main__.py` is `make bench`: `table_rows.py` lists its
rows, `rows/` measures them, `same.py` refuses unequal sides, `document.py` writes BENCHMARKS.md.

`gpu.py` is `make gpu`: parity first, then the kernels' table. `parity.py` compares ops with their
equations at full size; `attention.py` and `linear.py` state each op's problem and its peers;
`contest.py` checks that the sides compute the same and times them; `cards.py` knows what a card can
do. It needs torch and the kernels alone. Only tests import this package.
"""
