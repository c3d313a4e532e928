"""Rows of a table, looked up by number."""

from __future__ import annotations

import numpy as np

from chainrule.engine import op
from chainrule.ops.domains import index
from chainrule.ops.shape import scatter


def _embedding_by_one_hot(input, weight, *, padding_idx=None):
    """A one-hot row for every index, times the table."""
    return (np.expand_dims(input, -1) == np.arange(weight.shape[0])) @ weight


@op(
    "_, v d -> _",
    domain={"input": index("v")},
    samples=["6, 4 3", "2 5, 3 4", ", 4 3", "2 1 3, 5 1", "0, 4 3"],
    textbook=_embedding_by_one_hot,
)
def embedding(input, weight, *, padding_idx=None):
    r"""The rows of a table that the indices name, such as the vectors of words.

    Args:
        input: integers from 0 to v - 1, of any shape ``(...)``.
        weight: ``(v, d)``, one vector a row.
        padding_idx: the row of the padding symbol, or None. It counts as a constant: its gradient is 0. As in PyTorch
            a negative one counts from the end.

    Returns:
        ``(..., d)``.

    Raises:
        ValueError: an index or ``padding_idx`` is not a row of ``weight``; the indices are not integers.

    Forward:
        .. math:: y_{nk} = w_{i_n k}
    Backward:
        .. math:: \bar w_{jk} = \sum_{n : i_n = j} \bar y_{nk}
    Derivation:
        .. math:: y_{nk} = \sum_j \delta_{i_n j} w_{jk} \;\Rightarrow\;
                  \bar w_{lm} = \sum_{nk} \bar y_{nk} \sum_j \delta_{i_n j} \, \delta_{jl} \delta_{km}
                  = \sum_n \bar y_{nm} \, \delta_{i_n l} = \sum_{n : i_n = l} \bar y_{nm}
        It is a linear layer without bias on one-hot rows, :math:`Y = T W`, so :math:`\bar W = T^\top \bar Y`; only the
        multiplications by 0 and 1 are spared. A row that was looked up several times gets the sum.
    Source: Bengio, Ducharme, Vincent, Jauvin, *A neural probabilistic language model* (2003); the padding row is
    PyTorch's.

    >>> embedding(np.array([2, 0, 2]), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    array([[5., 6.],
           [1., 2.],
           [5., 6.]])
    """
    rows = weight.shape[0]
    if not np.issubdtype(input.dtype, np.integer):
        raise ValueError(f"embedding: input is {input.dtype}, expected integers, the numbers of rows of weight")
    wrong = input[(input < 0) | (input >= rows)]
    if wrong.size:
        expected = f"0 to {rows - 1} for the {rows} rows of weight"
        raise ValueError(f"embedding: input holds the index {wrong[0]}, expected {expected}")
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"embedding: padding_idx={padding_idx}, expected {-rows} to {rows - 1} for {rows} rows")

    def gweight(gy):
        if padding_idx is not None:
            gy = np.where((input == padding_idx % rows)[..., None], 0, gy)
        return scatter(gy, index=input, shape=weight.shape)

    return weight[input], (None, gweight)
