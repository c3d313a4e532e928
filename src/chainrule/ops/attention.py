"""Attention: every query reads a mixture of the values, by how well their keys answer it."""

from __future__ import annotations

import math

import numpy as np

from chainrule.engine import op, sample
from chainrule.ops.broadcast import sum_to
from chainrule.ops.domains import mask as true_or_false
from chainrule.ops.domains import normal


def _numbers_or_booleans(rng, shape, sizes):
    """Numbers to add if the mask is a matrix, else True and False; every query may attend to the first key."""
    if len(shape) == 2:
        return normal(rng, shape, sizes)
    return true_or_false(rng, shape, sizes) | (np.arange(shape[-1]) == 0)


def _attention_composed(query, key, value, attn_mask=None, *, is_causal=False, scale=None):
    """Exponentials and their sum, as on paper: right, and overflows early."""
    scores = (query[..., :, None, :] * key[..., None, :, :]).sum(-1)
    scores = scores / math.sqrt(query.shape[-1]) if scale is None else scores * scale
    factor = np.tri(*scores.shape[-2:]) if is_causal else 1.0
    if attn_mask is not None:
        factor = attn_mask if attn_mask.dtype == bool else np.exp(attn_mask)
    e = np.exp(scores) * factor
    return (e / e.sum(-1, keepdims=True)) @ value


@op(
    "... l e, ... s e, ... s v, _ -> ... l v",
    domain={"attn_mask": _numbers_or_booleans},
    samples=[
        "3 4, 5 4, 5 2",
        "2 3 4, 5 4, 5 2, 3 5",
        "2 1 3 4, 3 5 4, 3 5 2, 2 1 3 5",
        sample("2 3 4, 2 5 4, 5 1, 1 5", scale=0.7),
        sample("5 1, 3 1, 2 3 2", is_causal=True),
        "0 4, 3 4, 3 2",
    ],
    textbook=_attention_composed,
)
def scaled_dot_product_attention(query, key, value, attn_mask=None, *, is_causal=False, scale=None):
    r"""The mean of the values for every query, weighted by the softmax of its products with the keys.

    Args:
        query: ``(..., l, e)``, what each of l places asks for. Leading axes (batch, heads) broadcast.
        key: ``(..., s, e)``, what each of s places answers to.
        value: ``(..., s, v)``, what it says.
        attn_mask: what broadcasts to the scores, ``(..., l, s)``: booleans, True where a query may attend to a key, or
            numbers that are added to the scores, of their dtype; these have a gradient. A query that may attend to
            nothing (all False, or all minus infinity) gets 0, and its gradients are 0, as in PyTorch.
        is_causal: may query i attend to the keys j <= i only? Then there is no other mask.
        scale: the factor on the scores; by default :math:`1 / \sqrt e`.

    Returns:
        ``(..., l, v)``.

    Raises:
        ValueError: shapes do not fit, there are no keys, the mask is of another type, or there are two masks.

    Forward:
        .. math:: S = c \, Q K^\top + M, \qquad
                  p_{ij} = \frac{e^{s_{ij}}}{\sum_k e^{s_{ik}}}, \qquad Y = P V
        with :math:`c = 1 / \sqrt e` and :math:`m_{ij} = -\infty` where query i may not attend to key j.
    Backward:
        .. math::
            \bar s_{ij} &= p_{ij} \left( (\bar Y V^\top)_{ij} - \sum_d \bar y_{id} y_{id} \right) \\
            \bar Q &= c \, \bar S K, \qquad \bar K = c \, \bar S^\top Q, \qquad \bar V = P^\top \bar Y, \qquad
            \bar M = \bar S
    Derivation:
        The last product, :math:`y_{id} = \sum_j p_{ij} v_{jd}`:
        .. math:: \bar p_{ij} = \sum_d \bar y_{id} v_{jd} = (\bar Y V^\top)_{ij}, \qquad
                  \bar v_{jd} = \sum_i p_{ij} \bar y_{id} = (P^\top \bar Y)_{jd}
        The softmax of each row, where :math:`\partial p_{ik} / \partial s_{ij} = p_{ik} (\delta_{kj} - p_{ij})`:
        .. math:: \bar s_{ij} = \sum_k \bar p_{ik} \, p_{ik} (\delta_{kj} - p_{ij})
                  = p_{ij} \left( \bar p_{ij} - \sum_k \bar p_{ik} p_{ik} \right)
        The sum needs neither P nor its gradient, as it is over all of what the query reads:
        .. math:: \sum_k \bar p_{ik} p_{ik} = \sum_k \sum_d \bar y_{id} v_{kd} \, p_{ik} = \sum_d \bar y_{id} y_{id}
        The first product, :math:`s_{ij} = c \sum_m q_{im} k_{jm} + m_{ij}`:
        .. math:: \bar q_{im} = c \sum_j \bar s_{ij} k_{jm}, \qquad \bar k_{jm} = c \sum_i \bar s_{ij} q_{im}, \qquad
                  \bar m_{ij} = \bar s_{ij}
        Where broadcasting has copied an input, its gradient is the sum over the copies. The factor c keeps the scores
        at variance 1 if the entries of queries and keys have that, so that the softmax does not start saturated. A key
        that may not be attended to has p = 0: it gets and gives no gradient.
    Source: Vaswani et al., *Attention is all you need* (2017), section 3.2.1; the sum over d: Dao, Fu, Ermon, Rudra,
    Ré, *FlashAttention* (2022), appendix B.2.

    >>> query, key = np.array([[0.0], [1000.0]]), np.array([[-1.0], [1.0]])
    >>> scaled_dot_product_attention(query, key, np.array([[1.0], [2.0]]))
    array([[1.5],
           [2. ]])
    """
    c = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query @ np.swapaxes(key, -1, -2) * c
    if is_causal:
        if attn_mask is not None:
            raise ValueError("scaled_dot_product_attention: is_causal=True is a mask itself, expected no attn_mask")
        scores = np.where(np.tri(*scores.shape[-2:]) == 1, scores, -np.inf)
    elif attn_mask is not None:
        scores = _masked(scores, attn_mask)
    largest = scores.max(-1, keepdims=True)
    e = np.exp(scores - np.where(np.isfinite(largest), largest, 0))
    total = e.sum(-1, keepdims=True)
    p = e / np.where(total == 0, 1, total)  # a query that may attend to nothing: all 0
    y = p @ value

    def gscores(gy):
        return p * (gy @ np.swapaxes(value, -1, -2) - (gy * y).sum(-1, keepdims=True))

    def gquery(gy):
        return sum_to(gscores(gy) @ key * c, query.shape)

    def gkey(gy):
        return sum_to(np.swapaxes(gscores(gy), -1, -2) @ query * c, key.shape)

    def gvalue(gy):
        return sum_to(np.swapaxes(p, -1, -2) @ gy, value.shape)

    def gattn_mask(gy):
        return sum_to(gscores(gy), attn_mask.shape)

    return y, (gquery, gkey, gvalue, None if attn_mask is None or attn_mask.dtype == bool else gattn_mask)


def _masked(scores, mask):
    """Minus infinity where a query may not attend, or the sum with the numbers of the mask."""
    if mask.dtype not in (bool, scores.dtype):
        expected = f"bool or {scores.dtype}, the dtype of the scores"
        raise ValueError(f"scaled_dot_product_attention: attn_mask holds {mask.dtype}, expected {expected}")
    try:
        np.broadcast_to(mask, scores.shape)
    except ValueError:
        expected = f"one that broadcasts to {scores.shape}, the shape of the scores, (..., l, s)"
        raise ValueError(
            f"scaled_dot_product_attention: attn_mask has shape {mask.shape}, expected {expected}"
        ) from None
    return np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
