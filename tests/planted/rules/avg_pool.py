"""Average pooling layer."""

import numpy as np


class AvgPool2d:
    def __init__(self, kernel_size=2, stride=2):
        self.k = kernel_size
        self.stride = stride

    def forward(self, x):
        self.x_shape = x.shape
        _, _, h, w = x.shape
        oh = (h - self.k) // self.stride + 1
        ow = (w - self.k) // self.stride + 1
        rows = []
        for i in range(oh):
            row = []
            for j in range(ow):
                top, left = i * self.stride, j * self.stride
                row.append(x[:, :, top : top + self.k, left : left + self.k].mean(axis=(2, 3)))
            rows.append(np.stack(row, axis=-1))
        return np.stack(rows, axis=-2)

    def backward(self, grad_out):
        _, _, oh, ow = grad_out.shape
        grad_x = np.zeros(self.x_shape, dtype=grad_out.dtype)
        area = self.k * self.k
        for i in range(oh):
            for j in range(ow):
                top, left = i * self.stride, j * self.stride
                g = grad_out[:, :, i, j]
                grad_x[:, :, top : top + self.k, left : left + self.k] += g[:, :, None, None] / area
        return grad_x
