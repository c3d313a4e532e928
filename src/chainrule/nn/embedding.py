"""Embedding: a trained vector for every word."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.engine import Parameter
from chainrule.nn import init
from chainrule.nn.module import Module


class Embedding(Module):
    r"""A trained vector for each of ``num_embeddings`` symbols, looked up by the symbol's number.

    Args:
        num_embeddings, embedding_dim: the number of symbols and the size of a vector.
        padding_idx: the symbol that only fills up, or None: its vector is zero and stays so. A negative one counts from
            the end.
        rng: draws the first values, from :math:`\mathcal N(0, 1)`.
        dtype: of the vectors.

    Attributes:
        weight: ``(num_embeddings, embedding_dim)``.

    Raises:
        ValueError: ``padding_idx`` is not one of the symbols.

    Source of the first values: PyTorch's ``nn.Embedding.reset_parameters``.

    >>> Embedding(10, 3)(np.array([[1, 2, 4, 5], [4, 3, 2, 9]])).shape
    (2, 4, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ):
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = init.normal_(Parameter(np.empty((num_embeddings, embedding_dim), dtype)), rng=rng)
        self.padding_idx = padding_idx
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                expected = f"{-num_embeddings} to {num_embeddings - 1} for {num_embeddings} embeddings"
                raise ValueError(f"Embedding: padding_idx is {padding_idx}, expected {expected}")
            self.weight.value[padding_idx] = 0

    def __call__(self, input: Any) -> Any:
        return ops.embedding(input, self.weight, padding_idx=self.padding_idx)
