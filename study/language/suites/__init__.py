"""The suites of the paper, their data sets, and published baselines."""
