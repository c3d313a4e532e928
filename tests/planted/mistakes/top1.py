from planted import Mistake, Rule

RULE = Rule("top1", target="RowMax()", shapes="n d")
INDEX = "        self.index = np.argmax(x, axis=1)\n"
PUT = "grad_input[rows, self.index] = grad_output"
MISTAKES = [
    Mistake("stale", "x", INDEX, "        if self.index is None:\n            self.index = np.argmax(x, axis=1)\n"),
    Mistake("mask", "x", INDEX, "        self.index = np.argmin(x, axis=1)\n"),
    Mistake("mask", "x", INDEX, "        self.index = np.argmax(np.abs(x), axis=1)\n"),
    Mistake(("mask", "shifted"), "x", INDEX, "        self.index = np.argsort(x, axis=1)[:, -2]\n"),
    Mistake(("mask", "missing-sum"), "x", PUT, "grad_input[:] = grad_output[:, None]"),
    Mistake("mask", "x", PUT, "grad_input[:, self.index] = grad_output[:, None]"),
    Mistake("shifted", "x", PUT, "grad_input[rows, self.index - 1] = grad_output"),
    Mistake("shifted", "x", PUT, "grad_input[rows - 1, self.index] = grad_output"),
    Mistake("permuted", "x", PUT, "grad_input[rows, self.index] = grad_output[::-1]"),
    Mistake("permuted", "x", "        return grad_input", "        return grad_input[:, ::-1]"),
    Mistake("upstream-ignored", "x", PUT, "grad_input[rows, self.index] = 1"),
    Mistake("upstream-twice", "x", PUT, "grad_input[rows, self.index] = grad_output**2"),
    Mistake("sign", "x", PUT, "grad_input[rows, self.index] = -grad_output"),
    Mistake("factor", "x", PUT, "grad_input[rows, self.index] = grad_output / self.shape[1]"),
    Mistake(("batch-mean-twice", "factor"), "x", PUT, "grad_input[rows, self.index] = grad_output / len(rows)"),
    Mistake("dtype", "x", "dtype=grad_output.dtype", "dtype=self.index.dtype"),
    Mistake("missing", "x", "        return grad_input", "        return np.zeros_like(grad_input)"),
]
