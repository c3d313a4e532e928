"""Scaled dot-product attention for a batch of sequences."""

import numpy as np


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention_forward(q, k, v):
    """q: (B, T, D), k: (B, S, D), v: (B, S, E) -> (B, T, E)"""
    scale = 1.0 / np.sqrt(q.shape[-1])
    scores = q @ k.transpose(0, 2, 1) * scale
    attn = softmax(scores)
    out = attn @ v
    return out, (q, k, v, attn, scale)


def attention_backward(dout, cache):
    q, k, v, attn, scale = cache
    dv = attn.transpose(0, 2, 1) @ dout
    dattn = dout @ v.transpose(0, 2, 1)
    # through the softmax: every score moves every weight of its row
    dot = np.sum(dattn * attn, axis=-1, keepdims=True)
    dscores = attn * (dattn - dot)
    dscores = dscores * scale
    dq = dscores @ k
    dk = dscores.transpose(0, 2, 1) @ q
    return dq, dk, dv
