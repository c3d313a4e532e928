"""Products of matrices."""

from __future__ import annotations

import functools
import operator
import string

import numpy as np

from chainrule.engine import implements, op, sample
from chainrule.ops.broadcast import sum_to


@op(
    "... d, m d, m -> ... m",
    samples=["3 4, 5 4, 5", "3 4, 5 4", "4, 5 4, 5", "2 3 4, 5 4, 5", "0 4, 5 4, 5"],
    textbook=lambda x, weight, bias=0.0: x @ weight.T + bias,
)
def linear(x, weight, bias=None):
    r"""A linear layer: every row of ``x`` times the transposed weight, plus the bias.

    Args:
        x: ``(..., d)``, one example a row.
        weight: ``(m, d)``, one output unit a row, as in PyTorch.
        bias: ``(m,)``, or None.

    Forward:
        .. math:: Y = X W^\top + b, \qquad y_{nm} = \sum_d x_{nd} w_{md} + b_m
    Backward:
        .. math:: \bar X = \bar Y W, \qquad \bar W = \bar Y^\top X, \qquad \bar b = \sum_n \bar Y_n
    Derivation:
        .. math::
            \bar x_{ij} &= \sum_{nm} \bar y_{nm} \frac{\partial y_{nm}}{\partial x_{ij}}
                         = \sum_{nm} \bar y_{nm} \sum_d \delta_{ni} \delta_{dj} w_{md}
                         = \sum_m \bar y_{im} w_{mj} = (\bar Y W)_{ij} \\
            \bar w_{ij} &= \sum_{nm} \bar y_{nm} \sum_d x_{nd} \, \delta_{mi} \delta_{dj}
                         = \sum_n \bar y_{ni} x_{nj} = (\bar Y^\top X)_{ij} \\
            \bar b_j &= \sum_{nm} \bar y_{nm} \, \delta_{mj} = \sum_n \bar y_{nj}
        The batch index is summed: a mean over the batch belongs to the loss, once.
    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 6.5.6.

    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]), np.array([0.0, 0.0, 1.0]))
    array([[11., 17., 24.]])
    """
    y = x @ weight.T if bias is None else x @ weight.T + bias

    def gx(gy):
        return gy @ weight

    def gweight(gy):
        return gy.reshape(-1, weight.shape[0]).T @ x.reshape(-1, weight.shape[1])

    def gbias(gy):
        return gy.reshape(-1, weight.shape[0]).sum(0)

    return y, (gx, gweight, gbias)


def _matmul_by_sums(a, b):
    """All products, then the sum over the inner index."""
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    y = (left[..., :, :, None] * right[..., None, :, :]).sum(-2)
    y = y[..., 0] if b.ndim == 1 else y
    return y.sum(-1 if b.ndim == 1 else -2) if a.ndim == 1 else y


@op(
    "_, _ -> _",
    numpy=np.matmul,
    samples=[
        "3 4, 4 5",
        "4, 4",
        "4, 4 5",
        "3 4, 4",
        "2 3 4, 2 4 5",
        "2 3 4, 4 5",
        "3 4, 2 4 5",
        "6 1 3 4, 2 4 5",
        "4, 2 4 3",
        "2 3 4, 4",
        "0 4, 4 5",
        "3 0, 0 5",
    ],
    textbook=_matmul_by_sums,
)
def matmul(a, b):
    r"""The matrix product ``a @ b``.

    Args:
        a: ``(..., n, k)``, or ``(k,)``, which counts as a row.
        b: ``(..., k, m)``, or ``(k,)``, which counts as a column. Leading axes broadcast.

    Raises:
        ValueError: the inner sizes differ, or an input is a single number.

    Forward:
        .. math:: Y = A B, \qquad y_{nm} = \sum_k a_{nk} b_{km}
    Backward:
        .. math:: \bar A = \bar Y B^\top, \qquad \bar B = A^\top \bar Y
    Derivation:
        .. math::
            \bar a_{ij} &= \sum_{nm} \bar y_{nm} \frac{\partial y_{nm}}{\partial a_{ij}}
                         = \sum_{nm} \bar y_{nm} \sum_k \delta_{ni} \delta_{kj} b_{km}
                         = \sum_m \bar y_{im} b_{jm} = (\bar Y B^\top)_{ij} \\
            \bar b_{ij} &= \sum_{nm} \bar y_{nm} \sum_k a_{nk} \delta_{ki} \delta_{mj}
                         = \sum_n a_{ni} \bar y_{nj} = (A^\top \bar Y)_{ij}
        Where broadcasting has copied a matrix, its gradient is the sum over the copies.
    Source: Giles, *Collected Matrix Derivative Results for Forward and Reverse Mode AD* (2008), section 2.2.2.

    >>> matmul(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 10.0]))
    array([21., 43.])
    """
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        expected = "(..., n, k) and (..., k, m); a vector (k,) may stand on either side"
        raise ValueError(f"matmul: a has shape {a.shape} and b has shape {b.shape}, expected {expected}")
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    shape = (*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1])

    def ga(gy):
        return sum_to(np.reshape(gy, shape) @ np.swapaxes(right, -1, -2), left.shape).reshape(a.shape)

    def gb(gy):
        return sum_to(np.swapaxes(left, -1, -2) @ np.reshape(gy, shape), right.shape).reshape(b.shape)

    return a @ b, (ga, gb)


@implements(np.dot)
def _dot(a, b):
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    if np.ndim(a) > 2 or np.ndim(b) > 2:
        raise ValueError(f"np.dot: shapes {np.shape(a)} and {np.shape(b)}, expected at most 2 axes; see np.matmul")
    return np.matmul(a, b)


@implements(np.outer)
def _outer(a, b):
    return np.ravel(a)[:, None] * np.ravel(b)


@implements(np.trace)
def _trace(a):
    diagonal = np.arange(min(a.shape[:2]))
    return a[diagonal, diagonal].sum(0)


def _explicit(subscripts, xs):
    """The letters of every input and of the output: ``...`` spelled out, an output that was left out filled in."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not arrow:
        output = "..." * ("..." in inputs) + "".join(sorted(c for c in inputs if c.isalpha() and inputs.count(c) == 1))
    free = "".join(letter for letter in string.ascii_letters if letter not in subscripts)
    leading = [x.ndim - len(term.replace("...", "")) for term, x in zip(terms, xs, strict=True)]
    longest = max(leading)
    terms = [term.replace("...", free[longest - n : longest]) for term, n in zip(terms, leading, strict=True)]
    return terms, output.replace("...", free[:longest])


def _exchanged(place, terms, output, x):
    """Subscripts with the output exchanged for input ``x``, the one at ``place``; the identities and ones they need."""
    others = [*terms[:place], *terms[place + 1 :]]
    free = iter(sorted(set(string.ascii_letters).difference(output, *terms)))
    constants, target = {}, ""
    for letter, size in zip(terms[place], x.shape, strict=True):
        if letter in target:
            twin = next(free)
            constants[letter + twin] = np.eye(size, dtype=x.dtype)
            letter = twin
        target += letter
    present = "".join([output, *others, *constants])
    constants |= {c: np.ones(n, x.dtype) for c, n in zip(target, x.shape, strict=True) if c not in present}
    return f"{','.join([output, *others, *constants])}->{target}", constants.values()


def _einsum_by_sums(*xs, subscripts):
    """Its definition: the products for every value of every index, then the sum over those not in the output."""
    terms, output = _explicit(subscripts, xs)
    pairs = [pair for term, x in zip(terms, xs, strict=True) for pair in zip(term, x.shape, strict=True)]
    sizes = dict(sorted(pairs, key=lambda pair: pair[1] != 1))  # beside another size, 1 stretches
    letters = [*output, *(sizes.keys() - set(output))]
    grid = dict(zip(letters, np.ix_(*(range(sizes[letter]) for letter in letters)), strict=True))
    factors = [
        x[tuple(grid[i] % n for i, n in zip(term, x.shape, strict=True))] for term, x in zip(terms, xs, strict=True)
    ]
    return functools.reduce(operator.mul, factors).sum(tuple(range(len(output), len(letters))))


@op(
    "_ -> _",
    samples=[
        sample("3 4, 4 5", subscripts="ij,jk->ik"),
        sample("3 4, 4 5", subscripts="ij,jk"),
        sample("2 3 4, 2 5 4", subscripts="b n d, b m d -> m b n"),
        sample("3 4", subscripts="ji"),
        sample("3 4", subscripts="ij->j"),
        sample("3 4, 5", subscripts="ij,k->k"),
        sample("3 3", subscripts="ii"),
        sample("3 3", subscripts="ii->i"),
        sample("3 3 4 3, 3 4", subscripts="iiji,ij->j"),
        sample("3, 4", subscripts="i,j->ij"),
        sample("3 4, 4, 3", subscripts="ij,j,i->"),
        sample("2 3 4, 4 5", subscripts="...ij,jk->...ik"),
        sample("2 1 3, 4 3", subscripts="...k,...k"),
        sample(", 3", subscripts=",i->i"),
        sample("0 4, 4 5", subscripts="ij,jk->ik"),
    ],
    textbook=_einsum_by_sums,
)
def einsum(*xs, subscripts):
    r"""Einstein's summation: products of entries, summed over the indices that the output does not have.

    Args:
        xs: the inputs, one for each term of the subscripts.
        subscripts: as in ``np.einsum``: ``"ij,jk->ik"`` is the matrix product. An index may occur twice in one term (a
            diagonal), or in one term only; ``...`` stands for leading axes; without ``->``, the output has the
            indices that occur once, in alphabetical order.

    Raises:
        ValueError: subscripts and shapes do not go together.

    Forward:
        .. math:: y_{ik} = \sum_j a_{ij} b_{jk}
    Backward:
        .. math:: \bar a_{ij} = \sum_k \bar y_{ik} b_{jk}, \qquad \bar b_{jk} = \sum_i \bar y_{ik} a_{ij}
    Derivation:
        .. math:: \bar a_{lm} = \sum_{ik} \bar y_{ik} \sum_j \frac{\partial a_{ij}}{\partial a_{lm}} b_{jk}
                  = \sum_{ik} \bar y_{ik} \sum_j \delta_{il} \delta_{jm} b_{jk} = \sum_k \bar y_{lk} b_{mk}
        In words: exchange the output with the input that the gradient is for. For ``"ij,jk->ik"`` that is
        ``"ik,jk->ij"``. An index that then has nothing to stand for it gets a factor 1 (the entry was summed over); an
        index that occurs twice, as in :math:`a_{ii}`, is two indices with a factor :math:`\delta_{ij}`.
    Source: sum and product rule of differentiation.

    >>> einsum(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 10.0]), subscripts="ij,j->i")
    array([21., 43.])
    """
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: subscripts is a {type(subscripts).__name__}, expected a string such as 'ij,jk->ik'")
    y = np.einsum(subscripts, *xs)
    terms, output = _explicit(subscripts, xs)

    def pullback_of(place):
        x, others = xs[place], [*xs[:place], *xs[place + 1 :]]

        def gx(gy):
            exchanged, constants = _exchanged(place, terms, output, x)
            g = np.einsum(exchanged, gy, *others, *constants)
            return sum_to(np.broadcast_to(g, np.broadcast_shapes(g.shape, x.shape)), x.shape)  # a size 1 stretches

        return gx

    return y, tuple(pullback_of(place) for place in range(len(xs)))


@implements(np.einsum)
def _einsum(subscripts, *xs, **kwargs):
    return einsum(*xs, subscripts=subscripts, **kwargs)
