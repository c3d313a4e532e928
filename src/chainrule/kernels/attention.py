"""Attention without the matrix of its weights: a block of queries at a time, whose weights stay in the cache.

The way back computes the weights once more, by the same code, instead of keeping them: for 512 places and 16 heads they
would be 17 MB. Source: Dao, Fu, Ermon, Rudra, Ré, *FlashAttention* (2022), section 3.1, with whole rows of weights.
"""

import math

import numpy as np

from chainrule import ops
from chainrule.kernels.machine import inner, jit
from chainrule.kernels.parallel import SERIAL, in_parallel
from chainrule.kernels.products import aligned, multiply_part, strided
from chainrule.kernels.registry import call, empty, in_order, kernel, pulled_together
from chainrule.kernels.softmax import exponentiate, largest, sum_of

f32 = np.float32
QUERIES = 64  # in a block


@inner
def _product(a, a_transposed, b, b_transposed, c, add):
    """C = A B, or C + A B, by one thread."""
    rows, columns = c.shape
    a, b = strided(a, a_transposed), strided(b, b_transposed)
    multiply_part(a, b, strided(c, False), np.int64(0), rows, np.int64(0), columns, np.bool_(add))


@inner
def _weights(query, key, top, scale, causal, p):
    """The softmax of the rows of ``scale * query @ key.T``; if causal, query ``top + i`` sees no key behind its own."""
    _product(query, False, key, True, p, False)
    for i in range(len(p)):
        row = p[i]
        if causal:
            for j in range(top + i + 1, len(row)):
                row[j] = -math.inf
            for j in range(min(top + i + 1, len(row))):
                row[j] *= scale
        else:
            for j in range(len(row)):
                row[j] *= scale
        m = largest(row)
        for j in range(len(row)):
            row[j] -= m
    exponentiate(p)
    for i in range(len(p)):
        share = f32(1) / sum_of(p[i])
        for j in range(p.shape[1]):
            p[i, j] *= share


@inner
def _attend_block(task, query, key, value, scale, causal, y):
    head, block = divmod(task, -(-query.shape[1] // QUERIES))
    top, after = block * QUERIES, min((block + 1) * QUERIES, query.shape[1])
    p = aligned((after - top) * key.shape[1]).reshape(after - top, key.shape[1])
    _weights(query[head, top:after], key[head], top, scale, causal, p)
    _product(p, False, value[head], False, y[head, top:after], False)


@jit
def _attend(query, key, value, scale, causal, y):
    blocks = len(query) * -(-query.shape[1] // QUERIES)
    in_parallel(_attend_block, blocks, (query, key, value, scale, causal, y), query.size * key.shape[1] >= SERIAL)


@inner
def _back_of_head(head, query, key, value, scale, causal, y, gy, gquery, gkey, gvalue):
    places, s = query.shape[1], key.shape[1]
    room, other = aligned(QUERIES * s), aligned(QUERIES * s)
    for top in range(0, places, QUERIES):
        after = min(top + QUERIES, places)
        rows = after - top
        p, g = room[: rows * s].reshape(rows, s), other[: rows * s].reshape(rows, s)
        q, block = query[head, top:after], gy[head, top:after]
        _weights(q, key[head], top, scale, causal, p)
        _product(p, True, block, False, gvalue[head], top > 0)
        _product(block, False, value[head], True, g, False)
        for i in range(rows):
            mean = f32(0)
            for d in range(block.shape[1]):
                mean += block[i, d] * y[head, top + i, d]
            for j in range(s):
                g[i, j] = p[i, j] * (g[i, j] - mean) * scale
        _product(g, False, key[head], False, gquery[head, top:after], False)
        _product(g, True, q, False, gkey[head], top > 0)


@jit
def _back(query, key, value, scale, causal, y, gy, gquery, gkey, gvalue):
    arguments = query, key, value, scale, causal, y, gy, gquery, gkey, gvalue
    in_parallel(_back_of_head, len(query), arguments, query.size * key.shape[1] >= SERIAL)


def _is_common(query, key, value, attn_mask=None, is_causal=False, scale=None):
    """Nothing to broadcast, no mask but the causal one."""
    same = query.ndim >= 2 and query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    return same and attn_mask is None and min(query.size, key.size, value.size) > 0


@kernel(ops.scaled_dot_product_attention, _is_common)
def scaled_dot_product_attention(query, key, value, attn_mask=None, *, is_causal=False, scale=None):
    """Blocks of queries against all keys of their head."""
    factor = f32(1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    y = empty((*query.shape[:-1], value.shape[-1]))
    q, k, v, of_heads = (_heads(x) for x in (query, key, value, y))
    call(_attend, q, k, v, factor, bool(is_causal), of_heads)

    def pull(gy):
        found = tuple(empty(x.shape) for x in (query, key, value))
        call(_back, q, k, v, factor, bool(is_causal), of_heads, _heads(gy), *map(_heads, found))
        return found

    return y, (*pulled_together(pull), None)


def _heads(x):
    """``(..., places, entries)`` as ``(heads, places, entries)`` in C order."""
    return in_order(x).reshape(-1, *x.shape[-2:])
