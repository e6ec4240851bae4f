"""Where text and rows come from, and how a batch follows from (seed, step)."""
