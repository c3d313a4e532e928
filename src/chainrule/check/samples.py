"""Inputs drawn from what an op declares about itself: its signature, its domain, its samples."""

from __future__ import annotations

import numpy as np

from chainrule.engine import Op, Sample
from chainrule.ops.domains import normal

SIZES = (3, 4, 5, 2, 6, 7)  # distinct and not square, so that a transpose cannot hide
LEADING = (2, 3)  # what "..." stands for unless a sample says otherwise
ANY = (3, 4)  # what "_" stands for


def draw(op: Op, sample: Sample, rng: np.random.Generator) -> list[np.ndarray]:
    """Inputs for ``op``, in float64 unless its domain says otherwise.

    >>> from chainrule.ops import linear
    >>> [x.shape for x in draw(linear, linear.samples[0], np.random.default_rng(0))]
    [(3, 4), (5, 4), (5,)]
    """
    specs = op.signature.inputs
    letters = dict.fromkeys(letter for spec in specs for letter in spec if letter not in ("...", "_"))
    sizes = dict(zip(letters, SIZES, strict=False))
    if sample.shapes is None:
        stands_for = {"...": LEADING, "_": ANY, **{letter: (size,) for letter, size in sizes.items()}}
        shapes = [tuple(size for part in spec for size in stands_for[part]) for spec in specs]
    else:
        shapes = [tuple(map(int, part.split())) for part in sample.shapes.split(",")]
        for spec, shape in zip(specs, shapes, strict=False):
            own = [letter for letter in spec if letter not in ("...", "_")]
            sizes.update(zip(own, shape[len(shape) - len(own) :], strict=True))
    names = op.inputs * len(shapes) if op.variadic else op.inputs
    return [
        np.asarray(op.domain.get(name, normal)(rng, shape, sizes)) for name, shape in zip(names, shapes, strict=False)
    ]
