from planted import Mistake, Rule


def inputs(rng):
    n, d = rng.choice([3, 4, 5, 6, 7], size=2, replace=False)
    return rng.normal(size=(n, d)), rng.choice([-1, 1], size=(n, d)) * rng.uniform(0.5, 2.0, (n, d))


RULE = Rule("division", "Divide.forward, Divide.backward", inputs=inputs)

MISTAKES = [
    Mistake("sign", "y", "gy = -go", "gy = go", coursework="vu-2021, division"),
    Mistake("sign", "x", "gx = go / y", "gx = -go / y"),
    Mistake("parameter-missing", "y", "-go * x / y**2", "-go / y**2"),
    Mistake("parameter-missing", "y", "-go * x / y**2", "-go * x / y"),
    Mistake("parameter-missing", "x", "gx = go / y", "gx = go"),
    Mistake("wrong-saved", "y", "-go * x / y**2", "-go * x / x**2"),
    Mistake("wrong-saved", "x", "gx = go / y", "gx = go / x"),
    Mistake("wrong-saved", "y", "ctx.save_for_backward(x, y)", "ctx.save_for_backward(x / y, y)"),
    Mistake("wrong-saved", "x", "x, y = ctx.saved_tensors", "y, x = ctx.saved_tensors"),
    Mistake("upstream-ignored", "y", "-go * x", "-x"),
    Mistake("upstream-ignored", "x", "gx = go / y", "gx = 1 / y"),
    Mistake("upstream-twice", "y", "-go * x", "-go * go * x"),
    Mistake("factor", "y", "-go * x / y**2", "-2 * go * x / y**2"),
    Mistake("order-swapped", "x", "return gx, gy", "return gy, gx"),
    Mistake("missing", "y", "return gx, gy", "return gx, None"),
    Mistake("missing", "x", "gx = go / y", "gx = 0 * y"),
    Mistake("in-place", "y", "gy = -go * x / y**2", "y **= 2\n        gy = -go * x / y"),
    Mistake(
        "in-place",
        "gy",
        "gx = go / y\n        gy = -go * x / y**2\n",
        "gy = -go * x / y**2\n        go /= y\n        gx = go\n",
    ),
]
