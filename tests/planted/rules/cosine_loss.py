"""1 - cosine, averaged over the batch; both embeddings are trained."""

import numpy as np


def forward(ctx, pred, target):
    pred_norm = np.linalg.norm(pred, axis=1, keepdims=True)
    target_norm = np.linalg.norm(target, axis=1, keepdims=True)
    p = pred / pred_norm
    t = target / target_norm
    ctx.save_for_backward(p, t, pred_norm, target_norm)
    return np.mean(1 - np.sum(p * t, axis=1))


def backward(ctx, grad):
    p, t, pred_norm, target_norm = ctx.saved_tensors
    B = p.shape[0]
    gp = -grad * t / B
    gt = -grad * p / B
    # the part along the vector itself does not change its direction
    grad_pred = (gp - p * np.sum(p * gp, axis=1, keepdims=True)) / pred_norm
    grad_target = (gt - t * np.sum(t * gt, axis=1, keepdims=True)) / target_norm
    return grad_pred, grad_target
