"""The paper's claims on one suite, which stands for both of its benchmarks."""

from eval.claims.claim import Benchmark, Claim
from eval.claims.files import load


def paper_claims(suite: str, margin: float) -> tuple[Claim, ...]:
    one = Benchmark(suite=suite, margin=margin)
    return load("wang2022", {"eai": one, "t0": one})
