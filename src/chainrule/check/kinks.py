"""Points where a function has no derivative: its slopes to the left and to the right differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.check.probes import Probe, Prober
from chainrule.check.report import Finding


def at_kinks(prober: Prober, probes: Sequence[Probe], name: str) -> Finding | None:
    """A finding for the entries of ``name`` that lie on a kink; None if none does.

    Its status is ``"correct"`` if the gradient could be judged elsewhere, and is right there.
    """
    for probe in probes:
        blind = probe.blind.get(name)
        if blind is None or not blind.any():
            continue
        j = tuple(int(i) for i in np.argwhere(blind)[0])
        left, right = prober.one_sided(probe, name, j)
        g = probe.found.get(name)
        yours = f"; yours is {float(g[j]):.6g}" if g is not None and g.shape == blind.shape else ""
        judged = any(p.informs(name) for p in probes)
        return Finding(
            name,
            "correct" if judged else "inconclusive",
            "kink",
            "proved",
            f"{name}[{', '.join(map(str, j))}]" if j else name,
            f"{int(blind.sum())} of {blind.size} entries of a point lie on a kink: the loss has slope {left:.4g} to "
            f"the left and {right:.4g} to the right{yours}. Which number stands there is a convention"
            + ("; elsewhere the gradient is right" if judged else ""),
            "" if judged else "check at another point",
        )
    return None
