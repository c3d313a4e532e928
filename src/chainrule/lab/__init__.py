"""Experiments on top of training: engines compared on the same weights and the same batches."""

from chainrule.lab.compare import Comparison, EngineRow, compare

__all__ = ["Comparison", "EngineRow", "compare"]
