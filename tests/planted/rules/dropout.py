"""Inverted dropout; the mask of zeros and ones is given, so that it can be checked."""

KEEP = 0.75


def dropout_forward(ctx, x, mask):
    ctx.scale = 1.0 / KEEP
    ctx.mask = mask
    return x * mask * ctx.scale


def dropout_backward(ctx, grad_output):
    grad_x = grad_output * ctx.mask * ctx.scale
    return grad_x, None
