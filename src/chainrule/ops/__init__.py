"""Every operation, one function each: its value, its derivative, the derivation and the source together.

On arrays an op returns an array; on Tensors, a Tensor. ``op.rule(*arrays)`` returns the value and the pullbacks.
"""

import importlib
import pkgutil

from chainrule.engine import OPS as _OPS

__all__ = []
for _m in pkgutil.iter_modules(__path__):
    try:
        importlib.import_module(f"{__name__}.{_m.name}")
    except Exception as err:
        import sys
        print("NOT READY", _m.name, repr(err)[:300], file=sys.stderr)
for _o in _OPS.values():
    globals()[_o.name] = _o
    __all__.append(_o.name)
