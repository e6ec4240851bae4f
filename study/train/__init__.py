"""One loop, two engines, checkpoints, ranks, signals."""
