from planted import Mistake, Rule

RULE = Rule("cosine_loss", target="forward, backward", shapes="b d, b d", wrt=("pred", "target"))
PRED = "(gp - p * np.sum(p * gp, axis=1, keepdims=True)) / pred_norm"
TARGET = "(gt - t * np.sum(t * gt, axis=1, keepdims=True)) / target_norm"
MISTAKES = [
    Mistake("batch-mean-missing", "pred", "gp = -grad * t / B", "gp = -grad * t"),
    Mistake("batch-mean-missing", "target", "gt = -grad * p / B", "gt = -grad * p"),
    Mistake("batch-mean-twice", "pred", "gp = -grad * t / B", "gp = -grad * t / B**2"),
    Mistake("batch-mean-twice", "target", "return grad_pred, grad_target", "return grad_pred, grad_target / B"),
    Mistake("factor", "pred", "B = p.shape[0]", "B = p.size"),
    Mistake(("ddof", "factor"), "pred", "B = p.shape[0]", "B = p.shape[0] - 1"),
    Mistake("sign", "pred", "gp = -grad * t / B", "gp = grad * t / B"),
    Mistake("sign", "target", TARGET, "(gt + t * np.sum(t * gt, axis=1, keepdims=True)) / target_norm"),
    Mistake("path-dropped", "pred", PRED, "gp / pred_norm"),
    Mistake("parameter-missing", "target", TARGET, "gt - t * np.sum(t * gt, axis=1, keepdims=True)"),
    Mistake(("missing-sum", "elementwise-for-jacobian"), "pred", PRED, "(gp - p * p * gp) / pred_norm"),
    Mistake("missing-sum", "target", TARGET, "(gt - t * np.sum(t * gt, axis=0, keepdims=True)) / target_norm"),
    Mistake("mean-for-sum", "pred", PRED, "(gp - p * np.mean(p * gp, axis=1, keepdims=True)) / pred_norm"),
    Mistake(("elementwise-for-jacobian", "missing-sum"), "pred", PRED, "gp * (1 - p * p) / pred_norm"),
    Mistake("wrong-saved", "pred", PRED, "(gp - t * np.sum(t * gp, axis=1, keepdims=True)) / pred_norm"),
    Mistake(
        "wrong-saved",
        "target",
        "ctx.save_for_backward(p, t, pred_norm, target_norm)",
        "ctx.save_for_backward(p, target, pred_norm, target_norm)",
    ),
    Mistake("wrong-saved", "target", TARGET, TARGET.replace("target_norm", "pred_norm")),
    Mistake("upstream-ignored", "pred", "gp = -grad * t / B", "gp = -t / B"),
    Mistake("upstream-twice", "target", "gt = -grad * p / B", "gt = -(grad**2) * p / B"),
    Mistake("order-swapped", "pred", "return grad_pred, grad_target", "return grad_target, grad_pred"),
    Mistake("missing", "target", "return grad_pred, grad_target", "return grad_pred, None"),
]
