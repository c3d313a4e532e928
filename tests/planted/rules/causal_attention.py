"""Causal self-attention scores: position t sees only positions up to t. One sequence, no batch."""

import numpy as np


def causal_attention(Q, K, V):
    T, d = Q.shape
    future = np.triu(np.ones((T, T), dtype=bool), k=1)
    S = np.where(future, -1e9, Q @ K.T / np.sqrt(d))
    S = S - S.max(axis=1, keepdims=True)
    P = np.exp(S)
    P = P / P.sum(axis=1, keepdims=True)
    O = P @ V

    def pull_back(dO):
        dV = P.T @ dO
        dP = dO @ V.T
        dS = P * (dP - (P * dP).sum(axis=1, keepdims=True))
        dS = np.where(future, 0.0, dS)
        dQ = dS @ K / np.sqrt(d)
        dK = dS.T @ Q / np.sqrt(d)
        return dQ, dK, dV

    return O, pull_back
