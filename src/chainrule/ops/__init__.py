"""Every operation, one function each: its value, its derivative, the derivation and the source together.

On arrays an op returns an array; on Tensors, a Tensor. ``op.rule(*arrays)`` returns the value and the pullbacks.
An op is public by being written in one of these modules.
"""

from chainrule.engine import OPS
from chainrule.ops.activations import *
from chainrule.ops.arithmetic import *
from chainrule.ops.attention import *
from chainrule.ops.conv import *
from chainrule.ops.elementwise import *
from chainrule.ops.embedding import *
from chainrule.ops.losses import *
from chainrule.ops.matrix import *
from chainrule.ops.norm import *
from chainrule.ops.pool import *
from chainrule.ops.recurrent import *
from chainrule.ops.reduce import *
from chainrule.ops.shape import *
from chainrule.ops.windows import *

__all__ = [name for name, value in OPS.items() if globals().get(name) is value]
