from planted import Mistake, Rule

RULE = Rule("multi_head_attention", target="MultiHeadAttention()", shapes="b t 6")
MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "x", 'dx += dk @ p["Wk"].T', 'dx = dk @ p["Wk"].T'),
    Mistake(("overwrite", "path-dropped"), "x", 'dx += dv @ p["Wv"].T', 'dx = dv @ p["Wv"].T'),
    Mistake("path-dropped", "x", '        dx += dv @ p["Wv"].T\n', ""),
    Mistake("path-dropped", "Wq", "(datt - (datt * self.att).sum(-1, keepdims=True))", "datt"),
    Mistake(
        ("elementwise-for-jacobian", "missing-sum"),
        "Wk",
        "self.att * (datt - (datt * self.att).sum(-1, keepdims=True))",
        "self.att * (1 - self.att) * datt",
    ),
    Mistake(("parameter-missing", "factor"), "Wq", "        ds /= np.sqrt(self.dh)\n", ""),
    Mistake("factor", "Wq", "        ds /= np.sqrt(self.dh)\n", "        ds /= np.sqrt(self.dh * self.heads)\n"),
    Mistake("factor", "Wk", "        ds /= np.sqrt(self.dh)\n", "        ds /= self.dh\n"),
    Mistake(
        "transposed", "Wo", 'self.grads["Wo"] = np.einsum("btd,bte->de"', 'self.grads["Wo"] = np.einsum("btd,bte->ed"'
    ),
    Mistake(("transposed", "jacobian-transposed"), "Wv", 'dout @ p["Wo"].T', 'dout @ p["Wo"]'),
    Mistake(
        "transposed", "Wq", 'self.grads["Wq"] = np.einsum("btd,bte->de"', 'self.grads["Wq"] = np.einsum("btd,bte->ed"'
    ),
    Mistake(("transposed", "jacobian-transposed"), "x", 'dx += dk @ p["Wk"].T', 'dx += dk @ p["Wk"]'),
    Mistake(
        "wrong-saved",
        "Wq",
        'dq = np.einsum("bhij,bhjd->bhid", ds, self.k)',
        'dq = np.einsum("bhij,bhjd->bhid", ds, self.q)',
    ),
    Mistake("wrong-saved", "Wk", 'np.einsum("btd,bte->de", self.x, dk)', 'np.einsum("btd,bte->de", self.ctx, dk)'),
    Mistake("wrong-saved", "x", 'dx += dv @ p["Wv"].T', 'dx += dv @ p["Wo"].T'),
    Mistake(
        "order-swapped",
        "Wq",
        "dq, dk, dv = self.merge(dq), self.merge(dk), self.merge(dv)",
        "dk, dq, dv = self.merge(dq), self.merge(dk), self.merge(dv)",
    ),
    Mistake("permuted", "Wv", "self.merge(dk), self.merge(dv)\n", "self.merge(dk), self.merge(dv[:, ::-1])\n"),
    Mistake("sign", "x", "(datt - (datt * self.att)", "(datt + (datt * self.att)"),
    Mistake("sign", "x", 'dx += dk @ p["Wk"].T', 'dx -= dk @ p["Wk"].T'),
    Mistake(
        "mean-for-sum", "Wq", "(datt * self.att).sum(-1, keepdims=True)", "(datt * self.att).mean(-1, keepdims=True)"
    ),
    Mistake(
        "batch-mean-twice",
        "Wv",
        'np.einsum("btd,bte->de", self.x, dv)',
        'np.einsum("btd,bte->de", self.x, dv) / len(dout)',
        coursework="uva-2018, batches",
    ),
    Mistake(
        "missing",
        "Wk",
        'self.grads["Wk"] = np.einsum("btd,bte->de", self.x, dk)',
        'dWk = np.einsum("btd,bte->de", self.x, dk)',
    ),
    Mistake("stale", "Wq", "        self.x = x\n", '        self.x = getattr(self, "x", x)\n'),
    Mistake(
        "upstream-ignored",
        "Wo",
        'np.einsum("btd,bte->de", self.ctx, dout)',
        "self.ctx.sum((0, 1))[:, None] * np.ones(dout.shape[-1])",
    ),
]
