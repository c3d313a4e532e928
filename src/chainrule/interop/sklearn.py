"""scikit-learn: networks as estimators, for its pipelines, searches and scores.

Arguments have the names and defaults of scikit-learn's `MLPClassifier` where they mean the same. The errors are
scikit-learn's, not chainrule's: whoever calls `fit` through a pipeline or a search expects them.
"""

import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np

import chainrule
from chainrule import ops, optim
from chainrule.engine import Parameter, Tensor, no_grad, using
from chainrule.errors import UsageError
from chainrule.models import ACTIVATIONS, mlp
from chainrule.nn import Module

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, _fit_context
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import check_random_state
    from sklearn.utils._param_validation import Interval, Options, StrOptions
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import assert_all_finite, check_is_fitted, validate_data
except ImportError:
    raise UsageError("scikit-learn 1.6 or newer is not installed: pip install 'chainrule[sklearn]'") from None

__all__ = ["NetClassifier", "NetRegressor"]

FLOATS = [np.float64, np.float32]  # what X may be; all else becomes the first
Solver = Callable[[list[Parameter]], optim.Optimizer]
Loss = Callable[[Any, np.ndarray], Any]


def half_squared_error(y: Any, target: np.ndarray) -> Any:
    """Half the mean squared difference, scikit-learn's loss of a regressor."""
    return 0.5 * ops.mse_loss(y, target)


def cross_entropy(y: Any, target: np.ndarray) -> Any:
    """The mean negative log-likelihood of labels under the softmax of logits."""
    return ops.cross_entropy(y, target)


class Learner:
    """A network and what trains it: everything that decides the next epoch, so that it can be pickled and go on."""

    def __init__(self, module: Module, loss_of: Loss, solver: Solver, rng: np.random.Generator):
        self.module, self.loss_of, self.rng = module, loss_of, rng
        self.dtype = next((p.dtype for p in module.parameters()), np.dtype(np.float32))
        self.restart(solver)

    def restart(self, solver: Solver) -> None:
        """Go on from the same weights with new optimizers: one for weights, which decay, one for all else."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        weights, others = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim < 2]
        self.decaying = [solver(weights)] if weights else []
        self.optimizers = [*self.decaying, *([solver(others)] if others else [])]
        if not self.optimizers:
            raise ValueError(
                "module has no parameter to train, expected at least one with requires_grad = True: do not freeze all"
            )
        self.__dict__.pop("step", None)

    @cached_property
    def step(self) -> Callable[[np.ndarray, np.ndarray], Any]:
        """One step of training; replayed, unless the network draws random numbers."""

        def step(x: np.ndarray, target: np.ndarray) -> Any:
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss = self.loss_of(self.module(x), target)
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            return loss

        held = (value for module in self.module.modules() for value in vars(module).values())
        return step if any(isinstance(x, np.random.Generator) for x in held) else chainrule.compile(step)

    def epoch(self, x: np.ndarray, target: np.ndarray, *, batch_size: int, shuffle: bool, alpha: float) -> float:
        """Train on all examples once; returns their mean loss, each before its step."""
        n, total = len(x), 0.0
        target = target if target.dtype.kind in "iu" else target.astype(self.dtype, copy=False)
        order = self.rng.permutation(n) if shuffle else None
        with self._in_training(), using("cpu"), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for start in range(0, n, batch_size):
                batch = slice(start, min(start + batch_size, n))
                size = batch.stop - start
                for optimizer in self.decaying:
                    optimizer.weight_decay = alpha / size  # type: ignore[attr-defined]
                rows = batch if order is None else order[batch]
                total += float(self.step(x[rows], target[rows])) * size
        return total / n

    @contextmanager
    def _in_training(self) -> Iterator[None]:
        """Afterwards, however it ends, the network predicts and holds no gradients."""
        self.module.train()
        try:
            yield
        finally:
            self.module.zero_grad()
            self.module.eval()

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """The network's outputs, some rows at a time: a convolution's columns take many times its input's memory."""
        rows = 1000 if x.ndim < 4 else 100
        found = []
        with using("cpu"), no_grad():
            for start in range(0, len(x), rows):
                y = self.module(x[start : start + rows])
                found.append(y.value if isinstance(y, Tensor) else y)
        return np.concatenate(found)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "step"}


class Net(BaseEstimator):
    """What the two estimators share."""

    _loss: Loss  #: of outputs and targets
    _score: Callable[[np.ndarray, np.ndarray], float]  #: of targets and outputs
    _examples: Callable[..., tuple[np.ndarray, np.ndarray]]  #: X and the network's targets, checked
    _parameter_constraints: ClassVar[dict[str, list]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({*ACTIVATIONS, "logistic"})],
        "solver": [StrOptions({"adam", "sgd"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "module": [callable, None],
    }

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        module=None,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate_init=0.001,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=0.0001,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.module = module
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> Self:
        """Train until `max_iter`, or until it no longer gets better.

        Args:
            X: numbers, (n, features) or, for images, (n, channels, height, width).
            y: a target for each row.
        """
        goes_on = self.warm_start and hasattr(self, "module_")
        if not goes_on:
            self.__dict__.pop("module_", None)  # it would answer with the labels of this fit, should this one fail
        X, target = self._examples(X, y, first=not goes_on)
        if goes_on:
            self._learner.restart(self._solver)
        else:
            self._begin(X, target)
        x, held_out = self._numbers(X), None
        if self.early_stopping:
            x, target, *held_out = self._split(x, target)
        self.module_ = self._learner.module
        self._train(x, target, held_out)
        del self._learner.step  # with the memory of its plans
        return self

    def _partial_fit(self, X: Any, y: Any, *classes: Any) -> Self:
        first = not hasattr(self, "module_")
        X, target = self._examples(X, y, *classes, first=first)
        if first:
            self._begin(X, target)
        x = self._numbers(X)
        self.module_ = self._learner.module
        self._epoch(x, target)
        return self

    def _begin(self, X: np.ndarray, target: np.ndarray) -> None:
        """A new network, with nothing learned; it becomes `module_` when its training begins."""
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31, size=4))
        n_outputs = self._n_outputs(target)
        match self.module:
            case None:
                hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
                if not all(isinstance(width, int) and width > 0 for width in hidden):
                    raise ValueError(f"hidden_layer_sizes must be whole numbers > 0, got {hidden}.")
                activation = "sigmoid" if self.activation == "logistic" else self.activation
                module = mlp(X.shape[1:], n_outputs, hidden=hidden, activation=activation, rng=rng)
            case Module():
                module = copy.deepcopy(self.module)
                for layer in module.modules():
                    if isinstance(getattr(layer, "rng", None), np.random.Generator):
                        vars(layer)["rng"] = rng
            case factory:
                module = factory(X.shape[1], n_outputs, rng=rng)
        self._learner = Learner(module.eval(), type(self)._loss, self._solver, rng)
        found = self._learner.outputs(self._numbers(X[:1])).shape
        if found != (1, n_outputs):
            raise ValueError(f"module gives an output of shape {found} for one example, expected {(1, n_outputs)}")
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []

    def _solver(self, params: list[Parameter]) -> optim.Optimizer:
        lr = float(self.learning_rate_init)
        if self.solver == "adam":
            return optim.Adam(params, lr)
        return optim.SGD(params, lr, float(self.momentum), nesterov=self.momentum > 0)

    def _split(self, x: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
        """Examples to train on and examples to decide by when to stop: x and target, x and target."""
        train, validation = train_test_split(
            np.arange(len(x)),
            test_size=self.validation_fraction,
            random_state=int(self._learner.rng.integers(2**31)),
            stratify=target if isinstance(self, ClassifierMixin) else None,
        )
        if len(validation) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return [x[train], target[train], x[validation], target[validation]]

    def _train(self, x: np.ndarray, target: np.ndarray, held_out: list[np.ndarray] | None) -> None:
        best, best_state, waited = np.inf, None, 0
        scores: list[float] = []
        self.validation_scores_ = None if held_out is None else scores
        for _ in range(self.max_iter):
            measured = self._epoch(x, target)
            if held_out is not None:
                score = type(self)._score(held_out[1], self._learner.outputs(held_out[0]))
                scores.append(score)
                self._say(f"Validation score: {score:f}")
                measured = -score
            waited = waited + 1 if measured > best - self.tol else 0
            if measured < best:
                best, best_state = measured, None if held_out is None else self.module_.state_dict()
            if waited > self.n_iter_no_change:
                what = "Training loss" if held_out is None else "Validation score"
                self._say(f"{what} did not improve more than tol={self.tol:f} for {waited - 1} consecutive epochs.")
                break
        else:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )
        if best_state is not None:
            self.module_.load_state_dict(best_state)

    def _epoch(self, x: np.ndarray, target: np.ndarray) -> float:
        size = min(200 if self.batch_size == "auto" else self.batch_size, len(x))
        loss = self._learner.epoch(x, target, batch_size=size, shuffle=self.shuffle, alpha=float(self.alpha))
        if not (np.isfinite(loss) and all(np.isfinite(p.value).all() for p in self.module_.parameters())):
            del self.module_
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        self.n_iter_ += 1
        self.loss_curve_.append(loss)
        self._say(f"Iteration {self.n_iter_}, loss = {loss:.8f}")
        return loss

    def _say(self, line: str) -> None:
        if self.verbose:
            sys.stdout.write(line + "\n")

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, allow_nd=True, reset=False)
        self._check_rows(X, reset=False)
        return self._learner.outputs(self._numbers(X))

    def _check_rows(self, X: np.ndarray, *, reset: bool) -> None:
        """Keeps the shape of a row or, without `reset`, compares it: scikit-learn looks at its first axis alone."""
        found = X.shape[1:]
        if reset:
            self._row_shape = found
        elif found != self._row_shape:
            name = type(self).__name__
            raise ValueError(f"X has rows of shape {found}, but {name} is expecting rows of shape {self._row_shape}.")

    def _numbers(self, X: np.ndarray) -> np.ndarray:
        """In the precision of the network."""
        with np.errstate(over="ignore", invalid="ignore"):
            x = X.astype(self._learner.dtype, copy=False)
            assert_all_finite(x, input_name="X", estimator_name=type(self).__name__)
        return x

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class NetClassifier(ClassifierMixin, Net):
    """A network that tells classes apart, trained by cross-entropy.

    Args:
        hidden_layer_sizes: widths of the hidden layers of the network that is made where `module` is None.
        activation: its activation: relu, tanh, sigmoid (also as logistic), identity, gelu, elu, selu, silu, softplus or
            leaky-relu.
        module: a network of your own in its place. Either a function of the number of features (of images: channels),
            the number of outputs and `rng`, a generator for the first weights, which returns a `chainrule.nn.Module`;
            or a module, of which every `fit` trains a copy, from the weights that it has.
        solver: adam or sgd.
        alpha: of the penalty alpha / (2 n) times the sum of the squared weights, n the size of the batch; biases, and
            all else with one axis, have none.
        batch_size: rows for a step, at most all; "auto" is 200.
        learning_rate_init: the learning rate.
        max_iter: the most epochs that `fit` trains.
        shuffle: draw a new order of the rows for every epoch?
        random_state: decides first weights, the order of rows, dropout and the validation part.
        tol, n_iter_no_change: training ends when for more than `n_iter_no_change` epochs in a row the loss has not
            fallen by `tol` (with `early_stopping`: the score has not risen by it).
        verbose: write a line for every epoch?
        warm_start: has a second `fit` go on from the weights of the first?
        momentum: of sgd; Nesterov's.
        early_stopping: hold out a part of the rows, and keep the weights that score best on it?
        validation_fraction: how large that part is.

    Attributes:
        module_: the trained network.
        classes_: the labels, in the order of its outputs.
        n_iter_: epochs trained.
        loss_curve_: the mean loss of each, without the penalty.
        validation_scores_: the score after each epoch of the latest `fit`; None without `early_stopping`.
        n_features_in_: features of a row (channels of an image).
        feature_names_in_: their names, if `X` had any.

    The network computes in the precision of its parameters, by default float32, whatever `X` is in, and so do the
    probabilities. For the same `random_state`, rows and number of threads every bit is the same.

    A `fit` from the beginning that fails, and training that diverges, raise `ValueError` and leave nothing fitted;
    Ctrl-C keeps what was trained.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NetClassifier((16,), learning_rate_init=0.05, tol=0.001, random_state=0)
    >>> make_pipeline(StandardScaler(), net).fit(X, y).score(X, y) > 0.95
    True
    """

    _loss = staticmethod(cross_entropy)
    _score = staticmethod(lambda target, outputs: float((outputs.argmax(1) == target).mean()))

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Train on these rows once, going on from what was learned before. What ends a `fit` has no part in it.

        Args:
            X, y: as for `fit`.
            classes: all labels there will ever be; needed by the first call, unless there was a `fit`.

        >>> net = NetClassifier(random_state=0)
        >>> for rows in np.random.default_rng(0).standard_normal((5, 20, 2)):
        ...     net = net.partial_fit(rows, rows[:, 0] > 0, classes=[False, True])
        >>> net.n_iter_
        5
        """
        if classes is None and not hasattr(self, "module_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None and hasattr(self, "module_") and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, {self.classes_!r}")
        return self._partial_fit(X, y, classes)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of `classes_`: (n, classes)."""
        return ops.softmax(self._outputs(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithms of `predict_proba`, without its underflow."""
        return ops.log_softmax(self._outputs(X))

    def _examples(self, X: Any, y: Any, classes: Any = None, *, first: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=FLOATS, allow_nd=True, reset=first)
        self._check_rows(X, reset=first)
        check_classification_targets(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
        return X, LabelEncoder().fit(self.classes_).transform(y)

    def _n_outputs(self, target: np.ndarray) -> int:
        return len(self.classes_)


class NetRegressor(RegressorMixin, Net):
    """A network that predicts one number or several, trained by half the mean squared error.

    Targets are best near 0 with a spread near 1, as the network's first outputs are: scikit-learn's
    `TransformedTargetRegressor(NetRegressor(), transformer=StandardScaler())` sees to it.

    Args and attributes are those of `NetClassifier`, without `classes_`.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 3))
    >>> y = np.stack([X[:, 0] * X[:, 1], X[:, 2]], 1)
    >>> net = NetRegressor((32,), learning_rate_init=0.02, random_state=0).fit(X, y)
    >>> net.predict(X).shape, net.score(X, y) > 0.9
    ((200, 2), True)
    """

    _loss = staticmethod(half_squared_error)
    _score = staticmethod(r2_score)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any) -> Self:
        """Train on these rows once, going on from what was learned before. What ends a `fit` has no part in it.

        >>> NetRegressor(random_state=0).partial_fit(np.eye(3), np.arange(3.0)).n_iter_
        1
        """
        return self._partial_fit(X, y)

    def predict(self, X: Any) -> np.ndarray:
        """The numbers predicted for each row, in float64 and of the shape of the `y` that it was trained on."""
        outputs = self._outputs(X).astype(np.float64)
        return outputs.reshape(-1, *self._target_shape)

    def _examples(self, X: Any, y: Any, *, first: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=FLOATS, allow_nd=True, multi_output=True, y_numeric=True, reset=first)
        self._check_rows(X, reset=first)
        if first:
            self._target_shape = y.shape[1:]
        elif y.shape[1:] != self._target_shape:
            raise ValueError(f"y has rows of shape {y.shape[1:]}, expected {self._target_shape} as before")
        return X, y.reshape(len(y), -1)

    def _n_outputs(self, target: np.ndarray) -> int:
        return target.shape[1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
