"""Is a gradient right? Numeric truth, and the comparison with it."""

from chainrule.check.gradcheck import GradcheckError, gradcheck
from chainrule.check.samples import draw
from chainrule.check.truth import Truth, numeric_gradient

__all__ = ["GradcheckError", "Truth", "draw", "gradcheck", "numeric_gradient"]
