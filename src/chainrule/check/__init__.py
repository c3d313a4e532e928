"""Is a gradient right, and if not, what is wrong with it?"""

from chainrule.check.causes import CAUSES
from chainrule.check.diagnose import GradientError, assert_gradients, diagnose
from chainrule.check.gradcheck import GradcheckError, gradcheck
from chainrule.check.report import Finding, GradReport
from chainrule.check.samples import draw
from chainrule.check.truth import Truth, numeric_gradient

__all__ = [
    "CAUSES",
    "Finding",
    "GradReport",
    "GradcheckError",
    "GradientError",
    "Truth",
    "assert_gradients",
    "diagnose",
    "draw",
    "gradcheck",
    "numeric_gradient",
]
