"""scikit-learn: `MLPClassifier.partial_fit` on one batch, without penalty, momentum and shuffling."""

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier

from bench.works import N_CLASSES, TRAIN

VERSION = f"scikit-learn {sklearn.__version__}"


def prepare(task, variant):
    work = task.work
    net = MLPClassifier(
        work.widths[1:-1],
        activation={"sigmoid": "logistic", "relu": "relu"}[work.activation],
        solver="sgd",
        momentum=0,
        learning_rate_init=work.lr,
        alpha=0,
        batch_size=work.shapes[0][0],
        shuffle=False,
    )
    x = task.batches[0][0]
    net.partial_fit(x, np.zeros(len(x), int), classes=range(N_CLASSES))  # makes the arrays, which get our values
    for kind, arrays in (("weight", net.coefs_), ("bias", net.intercepts_)):
        values = [value for name, value in task.weights.items() if name.endswith(kind)]
        for array, value in zip(arrays, values, strict=True):
            array[...] = value.T

    def step(x, y):
        net.partial_fit(x, y)
        return net.loss_

    return step if task.phase == TRAIN else net.predict_log_proba, task.batches
