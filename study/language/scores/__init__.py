"""Language models' scores: one rule, lm-eval's tasks, items."""
