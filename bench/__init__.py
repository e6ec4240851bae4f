"""Benchmarks: what an op or a command costs beside its peers and limits, in one run.

`gpu.py` is `make gpu`: parity first, then the kernels' table. `parity.py` compares ops with their
equations at full size; `attention.py` and `linear.py` state each op's problem and its peers;
`contest.py` checks that the sides compute the same and times them in turn, by `clock.py`;
`cards.py` knows what a card can do; `table.py` writes. Nothing imports this package.
"""
