"""Depthwise convolution (MobileNet): every channel has its own 3 x 3 kernel."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class DepthwiseConv2d:
    def __init__(self, channels, kernel_size=3, seed=0):
        self.padding = kernel_size // 2
        self.weight = np.random.default_rng(seed).normal(0, 1 / kernel_size, (channels, kernel_size, kernel_size))
        self.bias = np.zeros(channels)
        self.weight_grad = None
        self.bias_grad = None

    def windows(self, images):
        """(N, C, H, W) -> (N, C, H, W, k, k)."""
        p = self.padding
        padded = np.pad(images, [(0, 0), (0, 0), (p, p), (p, p)])
        return sliding_window_view(padded, self.weight.shape[1:], axis=(2, 3))

    def forward(self, x):
        self.input = x
        self.output = np.einsum("nchwij,cij->nchw", self.windows(x), self.weight) + self.bias[:, None, None]
        return self.output

    def backward(self, grad_output):
        self.bias_grad = grad_output.sum(axis=(0, 2, 3))
        self.weight_grad = np.einsum("nchw,nchwij->cij", grad_output, self.windows(self.input))
        # the gradient of x is again a convolution, with the kernel turned around
        flipped = self.weight[:, ::-1, ::-1]
        return np.einsum("nchwij,cij->nchw", self.windows(grad_output), flipped)
