from planted import Mistake, Rule

RULE = Rule("layernorm_module", target="LayerNorm(6)", shapes="b t 6 -> b t 6")

RETURN = "return self.rstd * (g - a - self.normed * b)"
G = "g = grad * self.weight.data"

BLOCK = f"""\
{G}
        a = g.mean(axis=-1, keepdims=True)
        b = (g * self.normed).mean(axis=-1, keepdims=True)
        {RETURN}"""

MISTAKES = [
    # The closed form of batch norm, where gamma may stand in front.
    Mistake(
        "jacobian-transposed",
        "x",
        BLOCK,
        BLOCK.replace("grad * self.weight.data", "grad").replace(
            "return self.rstd", "return self.weight.data * self.rstd"
        ),
    ),
    Mistake("parameter-missing", "x", G, "g = grad"),
    Mistake("parameter-missing", "x", RETURN, "return g - a - self.normed * b"),
    Mistake("overwrite", "weight", "self.weight.grad += (grad", "self.weight.grad = (grad"),
    Mistake("overwrite", "bias", "self.bias.grad += grad", "self.bias.grad = grad"),
    Mistake("path-dropped", "x", RETURN, "return self.rstd * (g - a)"),
    Mistake("path-dropped", "x", RETURN, "return self.rstd * (g - self.normed * b)"),
    Mistake("sign", "x", RETURN, "return self.rstd * (g - a + self.normed * b)"),
    Mistake("sign", "weight", "self.weight.grad += (grad", "self.weight.grad -= (grad"),
    Mistake("factor", "x", RETURN, "return self.rstd * (g - a - 0.5 * self.normed * b)"),
    Mistake(
        "missing-sum", "x", "b = (g * self.normed).mean(axis=-1, keepdims=True)", "b = g * self.normed / g.shape[-1]"
    ),
    Mistake("mean-for-sum", "weight", "(grad * self.normed).sum(batch_axes)", "(grad * self.normed).mean(batch_axes)"),
    Mistake("missing-sum", "x", "a = g.mean(axis=-1, keepdims=True)", "a = g / g.shape[-1]"),
    Mistake("factor", "x", "a = g.mean(axis=-1, keepdims=True)", "a = g.sum(axis=-1, keepdims=True)"),
    Mistake(
        "elementwise-for-jacobian",
        "x",
        RETURN,
        "return self.rstd * g * (1 - 1 / g.shape[-1] - self.normed**2 / g.shape[-1])",
    ),
    Mistake("upstream-ignored", "weight", "(grad * self.normed).sum", "self.normed.sum"),
    Mistake("upstream-twice", "bias", "grad.sum(batch_axes)", "(grad**2).sum(batch_axes)"),
    Mistake(
        ("wrong-saved", "factor"),
        "x",
        "self.normed = d * self.rstd\n",
        "self.normed = d * self.rstd\n        self.rstd = self.rstd**2\n",
    ),
    Mistake(
        "stale",
        "weight",
        "self.normed = d * self.rstd\n        return self.weight.data * self.normed",
        "if not hasattr(self, 'normed'):\n            self.normed = d * self.rstd\n"
        "        return self.weight.data * (d * self.rstd)",
    ),
    Mistake(
        "eps", "x", RETURN, "rstd = (self.rstd**-2 - self.eps) ** -0.5\n        return rstd * (g - a - self.normed * b)"
    ),
    Mistake("in-place", "gy", G, "g = grad\n        g *= self.weight.data"),
    Mistake("missing", "bias", "        self.bias.grad += grad.sum(batch_axes)\n", ""),
    Mistake("missing", "x", RETURN, "self.rstd * (g - a - self.normed * b)"),
]
