"""Findings: what figures mean, stated by rules. One file a subject: a run, a comparison, a benchmark, a forecast.

A rule is a function of figures that returns its findings; its docstring is the rule, with its threshold.
"""
