"""Multi-head self-attention without biases; everything by einsum, two heads."""

import numpy as np


class MultiHeadAttention:
    def __init__(self, dim=6, heads=2, seed=1):
        rng = np.random.default_rng(seed)
        self.heads = heads
        self.dh = dim // heads
        self.params = {name: rng.normal(0, 0.6, (dim, dim)) for name in ("Wq", "Wk", "Wv", "Wo")}
        self.grads = {name: np.zeros((dim, dim)) for name in self.params}

    def split(self, z):
        B, T, _ = z.shape
        return z.reshape(B, T, self.heads, self.dh).transpose(0, 2, 1, 3)

    def merge(self, z):
        B, _, T, _ = z.shape
        return z.transpose(0, 2, 1, 3).reshape(B, T, self.heads * self.dh)

    def forward(self, x):
        p = self.params
        self.x = x
        self.q = self.split(x @ p["Wq"])
        self.k = self.split(x @ p["Wk"])
        self.v = self.split(x @ p["Wv"])
        scores = np.einsum("bhid,bhjd->bhij", self.q, self.k) / np.sqrt(self.dh)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        self.att = e / e.sum(-1, keepdims=True)
        self.ctx = self.merge(np.einsum("bhij,bhjd->bhid", self.att, self.v))
        return self.ctx @ p["Wo"]

    def backward(self, dout):
        p = self.params
        self.grads["Wo"] = np.einsum("btd,bte->de", self.ctx, dout)
        dctx = self.split(dout @ p["Wo"].T)
        datt = np.einsum("bhid,bhjd->bhij", dctx, self.v)
        dv = np.einsum("bhij,bhid->bhjd", self.att, dctx)
        ds = self.att * (datt - (datt * self.att).sum(-1, keepdims=True))
        ds /= np.sqrt(self.dh)
        dq = np.einsum("bhij,bhjd->bhid", ds, self.k)
        dk = np.einsum("bhij,bhid->bhjd", ds, self.q)
        dq, dk, dv = self.merge(dq), self.merge(dk), self.merge(dv)
        self.grads["Wq"] = np.einsum("btd,bte->de", self.x, dq)
        self.grads["Wk"] = np.einsum("btd,bte->de", self.x, dk)
        self.grads["Wv"] = np.einsum("btd,bte->de", self.x, dv)
        # x is used three times
        dx = dq @ p["Wq"].T
        dx += dk @ p["Wk"].T
        dx += dv @ p["Wv"].T
        return dx
