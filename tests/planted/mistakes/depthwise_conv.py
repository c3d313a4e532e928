from planted import Mistake, Rule

RULE = Rule("depthwise_conv", target="DepthwiseConv2d(3)", shapes="n 3 h w -> n 3 h w")

FLIPPED = "flipped = self.weight[:, ::-1, ::-1]"
BIAS = "self.bias_grad = grad_output.sum(axis=(0, 2, 3))"
WEIGHT = 'np.einsum("nchw,nchwij->cij", grad_output, self.windows(self.input))'
RETURN = 'return np.einsum("nchwij,cij->nchw", self.windows(grad_output), flipped)'

MISTAKES = [
    Mistake(("permuted", "jacobian-transposed"), "x", FLIPPED, "flipped = self.weight"),
    Mistake("permuted", "x", FLIPPED, "flipped = self.weight[:, :, ::-1]"),
    Mistake("permuted", "x", FLIPPED, "flipped = self.weight[::-1, ::-1, ::-1]"),
    Mistake(("permuted", "transposed"), "x", FLIPPED, "flipped = self.weight.transpose(0, 2, 1)[:, ::-1, ::-1]"),
    Mistake(("permuted", "transposed"), "weight", 'np.einsum("nchw,nchwij->cij"', 'np.einsum("nchw,nchwij->cji"'),
    Mistake("permuted", "weight", "self.windows(self.input))\n", "self.windows(self.input))[:, ::-1, ::-1]\n"),
    Mistake("missing-sum", "bias", BIAS, "self.bias_grad = grad_output.sum(axis=(2, 3))"),
    Mistake("missing-sum", "bias", BIAS, "self.bias_grad = grad_output.sum(axis=0)"),
    Mistake("missing-sum", "weight", '"nchw,nchwij->cij"', '"nchw,nchwij->ncij"'),
    Mistake("mean-for-sum", "bias", BIAS, "self.bias_grad = grad_output.mean(axis=(0, 2, 3))"),
    Mistake(
        ("batch-mean-twice", "mean-for-sum"),
        "weight",
        f"self.weight_grad = {WEIGHT}",
        f"self.weight_grad = {WEIGHT} / len(grad_output)",
        "uva-2018, batches",
    ),
    Mistake("upstream-ignored", "weight", '->cij", grad_output,', '->cij", np.ones_like(grad_output),'),
    Mistake("upstream-twice", "x", RETURN, RETURN.replace("(grad_output)", "(grad_output * grad_output)")),
    Mistake("wrong-saved", "weight", "self.windows(self.input))\n", "self.windows(self.output))\n"),
    Mistake(("upstream-ignored", "wrong-saved"), "x", RETURN, RETURN.replace("(grad_output)", "(self.input)")),
    Mistake(
        "shifted",
        "x",
        RETURN,
        RETURN.replace("self.windows(grad_output)", "np.roll(self.windows(grad_output), 1, axis=3)"),
    ),
    Mistake("shifted", "weight", "self.windows(self.input))\n", "np.roll(self.windows(self.input), -1, axis=2))\n"),
    Mistake("sign", "x", "return np.einsum", "return -np.einsum"),
    Mistake("factor", "weight", f"self.weight_grad = {WEIGHT}", f"self.weight_grad = 2 * {WEIGHT}"),
    Mistake(
        "stale",
        "weight",
        "self.input = x\n",
        "if getattr(self, 'input', x[:0]).shape != x.shape:\n            self.input = x\n",
    ),
    Mistake("missing", "weight", "self.weight_grad = np.einsum", "weight_grad = np.einsum"),
    Mistake("missing", "bias", BIAS, "self.bias_grad = np.zeros_like(self.bias)"),
    Mistake("dtype", "x", RETURN, f"{RETURN}.astype(np.float16)"),
    Mistake("in-place", "weight", FLIPPED, "flipped = self.weight\n        flipped[...] = flipped[:, ::-1, ::-1]"),
    Mistake(
        "order-swapped",
        "weight",
        f"{BIAS}\n        self.weight_grad = {WEIGHT}",
        f"{BIAS.replace('bias_grad', 'weight_grad')}\n        self.bias_grad = {WEIGHT}",
    ),
]
