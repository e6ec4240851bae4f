"""Panels of scores, tables, intervals, differences, calibration, budgets."""
