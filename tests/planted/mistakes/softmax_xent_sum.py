from planted import Mistake, Rule

RULE = Rule("softmax_xent_sum", "cross_entropy", shapes="x: b k, labels: b in k", wrt=("x",))

MISTAKES = [
    Mistake("batch-mean-twice", "x", "return g * (q - onehot)", "return g * (q - onehot) / n"),
    Mistake("upstream-ignored", "x", "return g * (q - onehot)", "return q - onehot"),
    Mistake("upstream-ignored", "x", "return g * (q - onehot)", "return g * q - onehot"),
    Mistake("sign", "x", "q - onehot", "q + onehot"),
    Mistake("sign", "x", "q - onehot", "onehot - q"),
    Mistake("path-dropped", "x", "g * (q - onehot)", "-g * onehot"),
    Mistake("path-dropped", "x", "g * (q - onehot)", "g * q"),
    Mistake("wrong-saved", "x", "q - onehot", "e - onehot"),
    Mistake("wrong-saved", "x", "q - onehot", "x - onehot"),
    Mistake("shifted", "x", "onehot[rows, labels] = 1", "onehot[rows, labels - 1] = 1"),
    Mistake("shifted", "x", "onehot[rows, labels] = 1", "onehot[rows[1:], labels[1:]] = 1"),
    Mistake("permuted", "x", "q - onehot", "q - onehot[::-1]"),
    Mistake("factor", "x", "q - onehot", "q - 2 * onehot"),
    Mistake("factor", "x", "return g * (q", "return 0.5 * g * (q"),
    Mistake("upstream-twice", "x", "return g * (q", "return g * g * (q"),
    Mistake("mask", "x", "q - onehot", "(q - onehot) * onehot"),
    Mistake("mask", "x", "q - onehot", "(q - onehot) * (1 - onehot)"),
    Mistake("missing", "x", "return g * (q - onehot)", "g * (q - onehot)"),
    Mistake("in-place", "labels", "onehot[rows, labels] = 1", "onehot[rows, labels] = 1\n        labels[:] = 0"),
]
