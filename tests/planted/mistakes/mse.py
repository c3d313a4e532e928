from planted import Mistake, Rule

RULE = Rule("mse", "MSELoss()", shapes="n k, n k ->", wrt=("pred", "target"))

MISTAKES = [
    Mistake("factor", "pred", "dloss * 2.0 * self.diff", "dloss * self.diff"),
    Mistake("factor", "pred", "/ self.diff.size", ""),
    Mistake("factor", "pred", "/ self.diff.size", "/ self.diff.shape[0]"),
    Mistake(("batch-mean-missing", "factor"), "pred", "/ self.diff.size", "/ self.diff.shape[1]"),
    Mistake("batch-mean-twice", "pred", "/ self.diff.size", "/ self.diff.size / len(self.diff)"),
    Mistake(("sign", "order-swapped"), "pred", "dloss * 2.0 * self.diff", "dloss * 2.0 * -self.diff"),
    Mistake("sign", "target", "dtarget = -dpred", "dtarget = dpred"),
    Mistake("upstream-ignored", "pred", "dpred = dloss * 2.0", "dpred = 2.0"),
    Mistake("upstream-twice", "target", "dtarget = -dpred", "dtarget = -dloss * dpred"),
    Mistake("upstream-twice", "pred", "dpred = dloss * 2.0", "dpred = dloss * dloss * 2.0"),
    Mistake(
        "wrong-saved",
        "pred",
        "self.diff = pred - target\n        return np.mean(self.diff**2)",
        "self.diff = pred\n        return np.mean((pred - target) ** 2)",
    ),
    Mistake(
        "wrong-saved",
        "pred",
        "return np.mean(self.diff**2)",
        "value = np.mean(self.diff**2)\n        self.diff = self.diff**2\n        return value",
    ),
    Mistake(
        "stale",
        "pred",
        "self.diff = pred - target\n        return np.mean(self.diff**2)",
        "diff = pred - target\n"
        '        self.diff = getattr(self, "next", diff)\n'
        "        self.next = diff\n"
        "        return np.mean(diff**2)",
    ),
    Mistake(("order-swapped", "sign"), "pred", "return dpred, dtarget", "return dtarget, dpred"),
    Mistake("missing", "target", "return dpred, dtarget", "return dpred, None"),
    Mistake("missing", "target", "dtarget = -dpred", "dtarget = np.zeros_like(dpred)"),
    Mistake("in-place", "target", "self.diff = pred - target", "target -= pred\n        self.diff = -target"),
    Mistake("ddof", "pred", "/ self.diff.size", "/ (self.diff.size - 1)"),
    Mistake("dtype", "pred", "return dpred, dtarget", "return dpred.astype(np.float32), dtarget"),
    Mistake("permuted", "pred", "return dpred, dtarget", "return dpred[:, ::-1], dtarget"),
]
