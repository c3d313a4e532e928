"""Experiments on top of training: engines compared on the same batches, sweeps of settings, reports of runs."""

from chainrule.lab.compare import Comparison, EngineRow, compare

__all__ = ["Comparison", "EngineRow", "compare"]
