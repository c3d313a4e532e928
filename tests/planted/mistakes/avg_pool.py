from planted import Mistake, Rule

RULE = Rule("avg_pool", target="AvgPool2d()", shapes="n c 4 6")
MISTAKES = [
    Mistake("factor", "x", "g[:, :, None, None] / area", "g[:, :, None, None]"),
    Mistake("factor", "x", "area = self.k * self.k", "area = self.k"),
    Mistake("factor", "x", "area = self.k * self.k", "area = oh * ow"),
    Mistake(("ddof", "factor"), "x", "area = self.k * self.k", "area = self.k * self.k - 1"),
    Mistake(
        "shifted",
        "x",
        "                g = grad_out[:, :, i, j]",
        "                top += 1\n                g = grad_out[:, :, i, j]",
    ),
    Mistake("shifted", "x", "g = grad_out[:, :, i, j]", "g = grad_out[:, :, i, j - 1]"),
    Mistake(
        ("shifted", "mask"),
        "x",
        "grad_x[:, :, top : top + self.k, left : left + self.k]",
        "grad_x[:, :, top : top + self.k, left : left + self.k - 1]",
    ),
    Mistake(
        "shifted",
        "x",
        "grad_x[:, :, top : top + self.k, left : left + self.k]",
        "grad_x[:, :, i : i + self.k, j : j + self.k]",
    ),
    Mistake("permuted", "x", "        return grad_x\n", "        return grad_x[..., ::-1]\n"),
    Mistake(
        "permuted",
        "x",
        "grad_x[:, :, top : top + self.k, left : left + self.k]",
        "grad_x[:, :, left : left + self.k, top : top + self.k]",
    ),
    Mistake("sign", "x", "+= g[:, :, None, None] / area", "-= g[:, :, None, None] / area"),
    Mistake("upstream-ignored", "x", "+= g[:, :, None, None] / area", "+= 1 / area"),
    Mistake("upstream-twice", "x", "+= g[:, :, None, None] / area", "+= g[:, :, None, None] ** 2 / area"),
    Mistake(
        ("mask", "path-dropped"),
        "x",
        "grad_x[:, :, top : top + self.k, left : left + self.k] +=",
        "grad_x[:, :, top : top + 1, left : left + 1] +=",
    ),
    Mistake(("batch-mean-twice", "factor"), "x", "        return grad_x\n", "        return grad_x / len(grad_x)\n"),
    Mistake("dtype", "x", "dtype=grad_out.dtype", "dtype=np.float16"),
    Mistake(
        "in-place", "gy", "        area = self.k * self.k", "        area = 1\n        grad_out /= self.k * self.k"
    ),
    Mistake("missing", "x", "        return grad_x\n", "        return None\n"),
]
