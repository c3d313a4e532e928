from planted import Mistake, Rule

RULE = Rule("linear_float32", "Dense(5, 3)", shapes="n 5 -> n 3")

MISTAKES = [
    Mistake("missing-sum", "b", "delta.sum(axis=0)", "delta"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "b", "delta.sum(axis=0)", "delta.mean(axis=0)"),
    Mistake("batch-mean-twice", "w", "self.x.T @ delta", "self.x.T @ delta / len(delta)"),
    Mistake("transposed", "w", "self.x.T @ delta", "delta.T @ self.x"),
    Mistake("sign", "x", "return delta @", "return -delta @"),
    Mistake("factor", "w", "self.x.T @ delta", "2 * self.x.T @ delta"),
    Mistake("factor", "x", "return delta @ self.w.T", "return 1.1 * (delta @ self.w.T)"),
    Mistake("upstream-ignored", "b", "delta.sum(axis=0)", "np.ones_like(self.b)"),
    Mistake("upstream-twice", "w", "self.x.T @ delta", "self.x.T @ (delta * delta)"),
    Mistake("missing", "x", "return delta @ self.w.T", "return None"),
    Mistake("missing", "b", "self.grad_b = delta.sum(axis=0)", "self.grad_b = np.zeros_like(self.b)"),
    Mistake("dtype", "w", "self.x.T @ delta", "(self.x.T @ delta).astype(np.float16)"),
    Mistake("dtype", "b", "delta.sum(axis=0)", "delta.sum(axis=0).astype(np.int32)"),
    Mistake("permuted", "b", "delta.sum(axis=0)", "delta.sum(axis=0)[::-1]"),
    Mistake(
        "stale",
        "w",
        "self.x = np.asarray(x).astype(np.float32)\n        return self.x @",
        'x = np.asarray(x).astype(np.float32)\n        self.x = getattr(self, "x", x)\n        return x @',
    ),
]
