from planted import Mistake, Rule

RULE = Rule("scale", "Scale(4)", shapes="x: n 4 -> n 4")

MISTAKES = [
    Mistake("overwrite", "scale", "self.scale.grad += ", "self.scale.grad = "),
    Mistake("overwrite", "shift", "self.shift.grad += ", "self.shift.grad[:] = "),
    Mistake("missing-sum", "shift", "+= dy.sum(axis=0)", "+= dy[0]"),
    Mistake(
        "missing-sum",
        "scale",
        "self.scale.grad += (dy * self.saved).sum(axis=0)",
        "self.scale.grad = self.scale.grad + dy * self.saved",
    ),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"), "scale", "(dy * self.saved).sum(axis=0)", "(dy * self.saved).mean(axis=0)"
    ),
    Mistake(("mean-for-sum", "batch-mean-twice"), "shift", "+= dy.sum(axis=0)", "+= dy.mean(axis=0)"),
    Mistake("upstream-ignored", "scale", "(dy * self.saved).sum(axis=0)", "self.saved.sum(axis=0)"),
    Mistake("parameter-missing", "x", "return dy * self.scale.data", "return dy"),
    Mistake("wrong-saved", "x", "return dy * self.scale.data", "return dy * self.saved"),
    Mistake(
        "wrong-saved",
        "scale",
        "        return x * self.scale.data + self.shift.data",
        "        self.saved = x * self.scale.data + self.shift.data\n        return self.saved",
    ),
    Mistake("parameter-missing", "scale", "(dy * self.saved).sum(axis=0)", "dy.sum(axis=0)"),
    Mistake(
        "order-swapped",
        "scale",
        "self.scale.grad += (dy * self.saved).sum(axis=0)\n        self.shift.grad +=",
        "self.shift.grad += (dy * self.saved).sum(axis=0)\n        self.scale.grad +=",
    ),
    Mistake("sign", "shift", "self.shift.grad += dy", "self.shift.grad -= dy"),
    Mistake("factor", "scale", "self.scale.grad += (dy", "self.scale.grad += 2 * (dy"),
    Mistake("upstream-twice", "scale", "(dy * self.saved)", "(dy * dy * self.saved)"),
    Mistake("stale", "scale", "self.saved = x\n", 'self.saved = getattr(self, "saved", x)\n'),
    Mistake("missing", "shift", "        self.shift.grad += dy.sum(axis=0)\n", ""),
    Mistake("permuted", "scale", "(dy * self.saved).sum(axis=0)", "(dy * self.saved).sum(axis=0)[::-1]"),
    Mistake(
        "in-place", "gy", "        return dy * self.scale.data", "        dy *= self.scale.data\n        return dy"
    ),
]
