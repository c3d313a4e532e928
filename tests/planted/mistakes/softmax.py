from planted import Mistake, Rule

RULE = Rule("softmax", "SoftMaxModule()", shapes="n c -> n c")

MISTAKES = [
    Mistake(
        ("elementwise-for-jacobian", "missing-sum"),
        "x",
        "        inner = np.sum(dout * s, axis=1, keepdims=True)\n        dx = s * (dout - inner)\n",
        "        dx = dout * s * (1 - s)\n",
        coursework="uva-2018, softmax backward",
    ),
    Mistake(
        "elementwise-for-jacobian",
        "x",
        "dx = s * (dout - inner)",
        'jac = np.einsum("bi,ij->bij", s, np.eye(s.shape[1])) - s[:, :, None] * s[:, None, :]\n'
        "        dx = (jac * dout[:, None, :]).diagonal(axis1=1, axis2=2)",
        coursework="uva-2018, softmax backward",
    ),
    Mistake("path-dropped", "x", "dx = s * (dout - inner)", "dx = s * dout"),
    Mistake("sign", "x", "(dout - inner)", "(dout + inner)"),
    Mistake("sign", "x", "(dout - inner)", "(inner - dout)"),
    Mistake(("missing-sum", "elementwise-for-jacobian"), "x", "np.sum(dout * s, axis=1, keepdims=True)", "dout * s"),
    Mistake("mean-for-sum", "x", "np.sum(dout * s, axis=1, keepdims=True)", "np.mean(dout * s, axis=1, keepdims=True)"),
    Mistake("shifted", "x", "dout - inner", "dout - np.roll(inner, 1, axis=0)"),
    Mistake("parameter-missing", "x", "np.sum(dout * s, axis=1", "np.sum(dout, axis=1"),
    Mistake("parameter-missing", "x", "dx = s * (dout - inner)", "dx = dout - inner"),
    Mistake("upstream-ignored", "x", "np.sum(dout * s, axis=1", "np.sum(s, axis=1"),
    Mistake("upstream-twice", "x", "s * (dout - inner)", "s * dout * (dout - inner)"),
    Mistake(
        "wrong-saved",
        "x",
        "        return self.out\n",
        "        y = self.out\n        self.out = x\n        return y\n",
    ),
    Mistake(
        "wrong-saved",
        "x",
        "        return self.out\n",
        "        y = self.out\n        self.out = exps\n        return y\n",
    ),
    Mistake("factor", "x", "return dx", "return dx * dout.shape[1]"),
    Mistake("factor", "x", "dout - inner", "dout - 2 * inner"),
    Mistake("batch-mean-twice", "x", "return dx", "return dx / dout.shape[0]"),
    Mistake("in-place", "gy", "dx = s * (dout - inner)", "dout -= inner\n        dx = s * dout"),
    Mistake(
        "in-place",
        "x",
        "shifted = x - x.max(axis=1, keepdims=True)",
        "x -= x.max(axis=1, keepdims=True)\n        shifted = x",
    ),
    Mistake("missing", "x", "return dx", "return None"),
    Mistake("dtype", "x", "return dx", 'return dx.astype("float32")'),
]
