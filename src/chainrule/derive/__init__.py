"""Gradients derived in index notation, proved with numbers, and written as mathematics or as code.

The order of reading: ``indices`` (expressions), ``arrays`` and ``language`` (from text to expressions), ``calculus``
and ``rewriting`` (from a line to its gradients), ``matrix`` (whole arrays), ``proof``, ``derivation``.
"""

from chainrule.derive.definitions import DEFINITIONS
from chainrule.derive.derivation import Derivation, derive

__all__ = ["DEFINITIONS", "Derivation", "derive"]
