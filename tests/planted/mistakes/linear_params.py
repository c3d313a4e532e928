from planted import Mistake, Rule

RULE = Rule("linear_params", "LinearModule(5, 3)", shapes="x: n 5 -> n 3")

MISTAKES = [
    Mistake("transposed", "weight", "dout.T @ self.x", "self.x.T @ dout", coursework="uva-2018, linear backward for W"),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"),
        "bias",
        "dout.sum(axis=0, keepdims=True)",
        "dout.mean(axis=0, keepdims=True)",
        coursework="uva-2018, batches",
    ),
    Mistake(
        ("batch-mean-twice", "mean-for-sum"),
        "weight",
        "dout.T @ self.x",
        "dout.T @ self.x / self.x.shape[0]",
        coursework="uva-2018, batches",
    ),
    Mistake(
        "upstream-ignored", "weight", "dout.T @ self.x", "np.ones_like(dout).T @ self.x", coursework="uva-2020, linear"
    ),
    Mistake("missing-sum", "bias", "dout.sum(axis=0, keepdims=True)", "dout"),
    Mistake("missing-sum", "bias", "dout.sum(axis=0, keepdims=True)", "dout[:1]"),
    Mistake(
        ("transposed", "jacobian-transposed"), "x", 'dout @ self.params["weight"]', 'dout @ self.params["weight"].T'
    ),
    Mistake("missing", "bias", "keepdims=True)\n", "keepdims=True) * 0\n"),
    Mistake("missing", "weight", 'self.grads["weight"] = dout.T @ self.x', "dweight = dout.T @ self.x  # noqa: F841"),
    Mistake("sign", "weight", "dout.T @ self.x", "-dout.T @ self.x"),
    Mistake("factor", "bias", "dout.sum(axis=0, keepdims=True)", "2 * dout.sum(axis=0, keepdims=True)"),
    Mistake("upstream-twice", "x", 'dout @ self.params["weight"]', '(dout * dout) @ self.params["weight"]'),
    Mistake("stale", "weight", "self.x = x\n", 'self.x = getattr(self, "x", x)\n'),
    Mistake("permuted", "weight", "dout.T @ self.x", "(dout.T @ self.x)[::-1]"),
    Mistake("permuted", "x", 'dout @ self.params["weight"]', '(dout @ self.params["weight"])[:, ::-1]'),
    Mistake("in-place", "gy", "        dx = dout @", "        dout -= dout.mean()\n        dx = dout @"),
    Mistake("dtype", "weight", "dout.T @ self.x", "(dout.T @ self.x).astype(np.float32)"),
    Mistake("wrong-saved", "weight", "        return out", "        self.x = x - x.mean()\n        return out"),
]
