"""Sequence-mixer cores as functions over one visibility contract. Imports torch only.

Whatever computes imports this package, so its import makes torch's first calls (`first_calls.py`).
"""

from kernels.first_calls import make_first_calls

make_first_calls()
