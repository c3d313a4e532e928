from planted import Mistake, Rule


def inputs(rng):
    """Longer than the kernel, so that it overlaps itself nowhere."""
    n, t = rng.permutation([4, 5, 6])[:2]
    return (rng.standard_normal((n, t)),)


RULE = Rule("circular_filter", target="CircularFilter()", inputs=inputs)
DX = "dx += self.W[k] * np.roll(dout, -k, axis=1)"
DW = "self.dW[k] = np.sum(dout * np.roll(self.x, k, axis=1))"
MISTAKES = [
    Mistake("jacobian-transposed", "x", DX, "dx += self.W[k] * np.roll(dout, k, axis=1)"),
    Mistake(("shifted", "permuted"), "x", DX, "dx += self.W[k] * np.roll(dout, 1 - k, axis=1)"),
    Mistake(("permuted", "wrong-saved"), "x", DX, "dx += self.W[2 - k] * np.roll(dout, -k, axis=1)"),
    Mistake(("shifted", "wrong-saved"), "x", DX, "dx += self.W[k - 1] * np.roll(dout, -k, axis=1)"),
    Mistake("parameter-missing", "x", DX, "dx += np.roll(dout, -k, axis=1)"),
    Mistake(("elementwise-for-jacobian", "path-dropped"), "x", DX, "dx = self.W[0] * dout"),
    Mistake(("overwrite", "path-dropped"), "x", DX, DX.replace("+=", "=")),
    Mistake("permuted", "W", DW, "self.dW[-k - 1] = np.sum(dout * np.roll(self.x, k, axis=1))"),
    Mistake("shifted", "W", DW, "self.dW[k] = np.sum(dout * np.roll(self.x, k + 1, axis=1))"),
    Mistake(("sign", "shifted", "permuted"), "W", DW, "self.dW[k] = np.sum(dout * np.roll(self.x, -k, axis=1))"),
    Mistake("mean-for-sum", "W", DW, DW.replace("sum", "mean")),
    Mistake(("batch-mean-twice", "mean-for-sum"), "W", DW, DW + " / len(dout)"),
    Mistake("missing-sum", "W", DW, "self.dW = np.sum(dout * np.roll(self.x, k, axis=1), axis=0)"),
    Mistake("wrong-saved", "W", DW, "self.dW[k] = np.sum(dout * np.roll(dout, k, axis=1))"),
    Mistake("upstream-ignored", "W", DW, "self.dW[k] = np.sum(self.x)"),
    Mistake("upstream-twice", "W", DW, "self.dW[k] = np.sum(dout**2 * np.roll(self.x, k, axis=1))"),
    Mistake("stale", "W", "        self.x = x\n", '        self.__dict__.setdefault("x", x)\n'),
    Mistake(
        ("path-dropped", "shifted"),
        "W",
        "        for k in range(3):\n            dx",
        "        for k in range(2):\n            dx",
    ),
    Mistake("missing", "W", DW, "pass"),
    Mistake("in-place", "W", "        return dx", "        self.W /= np.abs(self.W).sum()\n        return dx"),
    Mistake("dtype", "x", "dx = np.zeros(dout.shape)", "dx = np.zeros(dout.shape, dtype=np.float32)"),
]
