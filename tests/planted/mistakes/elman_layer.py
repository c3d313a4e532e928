from planted import Mistake, Rule

RULE = Rule("elman_layer", target="ElmanRNN()", shapes="n t 3")
LOOP = "for t in range(self.x.shape[1], 0, -1):"
MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "W", "dW += self.h[t - 1].T @ delta", "dW = self.h[t - 1].T @ delta"),
    Mistake(("overwrite", "path-dropped"), "b", "db += delta.sum(axis=0)", "db = delta.sum(axis=0)"),
    Mistake(("shifted", "path-dropped"), "U", LOOP, "for t in range(self.x.shape[1], 1, -1):"),
    Mistake("shifted", "U", "dU += self.x[:, t - 1].T @ delta", "dU += self.x[:, t - 2].T @ delta"),
    Mistake("shifted", "W", "delta = delta * (1 - self.h[t] ** 2)", "delta = delta * (1 - self.h[t - 1] ** 2)"),
    Mistake(("shifted", "wrong-saved"), "W", "dW += self.h[t - 1].T @ delta", "dW += self.h[t].T @ delta"),
    Mistake("shifted", "x", "dx[:, t - 1] = delta @ U.T", "dx[:, t - 2] = delta @ U.T"),
    Mistake("permuted", "x", "        return dx\n", "        return dx[:, ::-1]\n"),
    Mistake("path-dropped", "W", LOOP, "for t in [self.x.shape[1]]:"),
    Mistake(("parameter-missing", "wrong-saved"), "b", "delta = delta * (1 - self.h[t] ** 2)", "pass"),
    Mistake("parameter-missing", "x", "            delta = delta @ W.T\n", ""),
    Mistake("wrong-saved", "x", "delta = delta @ W.T", "delta = delta @ U[:1].T @ U[:1]"),
    Mistake(("transposed", "jacobian-transposed"), "U", "delta = delta @ W.T", "delta = delta @ W"),
    Mistake("transposed", "W", "dW += self.h[t - 1].T @ delta", "dW += delta.T @ self.h[t - 1]"),
    Mistake("sign", "W", "(1 - self.h[t] ** 2)", "(1 + self.h[t] ** 2)"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "b", "db += delta.sum(axis=0)", "db += delta.mean(axis=0)"),
    Mistake("batch-mean-twice", "U", '"U": dU, "W"', '"U": dU / len(dx), "W"', coursework="uva-2018, batches"),
    Mistake(("mean-for-sum", "factor"), "W", '"W": dW, "b"', '"W": dW / self.x.shape[1], "b"'),
    Mistake("stale", "U", "        self.x = x\n", '        if not hasattr(self, "x"):\n            self.x = x\n'),
    Mistake("in-place", "gy", "delta = delta * (1 - self.h[t] ** 2)", "delta *= 1 - self.h[t] ** 2"),
    Mistake("missing", "b", '"W": dW, "b": db}', '"W": dW, "b": np.zeros_like(db)}'),
    Mistake("dtype", "x", "dx = np.zeros_like(self.x)", "dx = np.zeros_like(self.x, dtype=np.float16)"),
]
