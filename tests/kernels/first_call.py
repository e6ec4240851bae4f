"""A program: many processes at once make a first call with several threads, and say how many got
another answer than at the second call. `torch` alone, or `kernels` imported as well.
"""

from __future__ import annotations

import os
import sys

import torch

THREADS, WAVE = 4, 8


def differs(numbers: torch.Tensor) -> bool:
    torch.set_num_threads(THREADS)
    torch.zeros(1 << 20).add_(1)  # all threads are there, and wait
    first = numbers.cos()
    return not torch.equal(first, numbers.cos())


def main(imports: str, processes: int) -> int:
    if imports == "kernels":
        import kernels  # noqa: F401
    numbers = torch.linspace(0.05, 0.95, 2048 * THREADS * 2)
    wrong = 0
    for _ in range(processes // WAVE):
        children = []
        for _ in range(WAVE):
            child = os.fork()
            if not child:
                os._exit(differs(numbers))
            children.append(child)
        wrong += sum(os.waitpid(child, 0)[1] != 0 for child in children)
    return wrong


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2])))
