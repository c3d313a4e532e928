from planted import Mistake, Rule

RULE = Rule("cumsum", target="CumSum()", shapes="n t")
FLIPPED = "flipped = np.flip(dy, axis=self.axis)"
DX = "dx = np.flip(np.cumsum(flipped, axis=self.axis), axis=self.axis)"
MISTAKES = [
    Mistake("jacobian-transposed", "x", DX, "dx = np.cumsum(dy, axis=self.axis)"),
    Mistake("permuted", "x", DX, "dx = np.cumsum(flipped, axis=self.axis)"),
    Mistake("permuted", "x", DX, "dx = np.flip(np.cumsum(flipped, axis=self.axis))"),
    Mistake(("shifted", "path-dropped"), "x", DX, DX + " - dy"),
    Mistake(
        "shifted",
        "x",
        DX,
        "dx = np.roll(np.flip(np.cumsum(flipped, axis=self.axis), axis=self.axis), 1, axis=self.axis)",
    ),
    Mistake("elementwise-for-jacobian", "x", DX, "dx = dy"),
    Mistake("elementwise-for-jacobian", "x", DX, "dx = dy * np.arange(dy.shape[1], 0, -1)"),
    Mistake("path-dropped", "x", DX, "dx = np.repeat(dy[:, -1:], dy.shape[1], axis=1)"),
    Mistake("mask", "x", DX, "dx = np.repeat(dy.sum(axis=1, keepdims=True), dy.shape[1], axis=1)"),
    Mistake("upstream-ignored", "x", FLIPPED, "flipped = np.ones(self.shape)"),
    Mistake("upstream-twice", "x", FLIPPED, "flipped = np.flip(dy * dy, axis=self.axis)"),
    Mistake("sign", "x", DX, DX.replace("dx = ", "dx = -")),
    Mistake("factor", "x", DX, DX + " / self.shape[1]"),
    Mistake(("batch-mean-twice", "factor"), "x", DX, DX + " / self.shape[0]"),
    Mistake("in-place", "gy", FLIPPED, "dy[:] = np.flip(dy, axis=self.axis)\n        flipped = dy"),
    Mistake("missing", "x", "        return dx", "        self.result = dx"),
]
