"""Networks as scikit-learn's estimators: its own checks, its own perceptron, and a step by hand as the truth."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from chainrule import nn
from chainrule.interop.sklearn import NetClassifier, NetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
F64 = {"dtype": np.float64}


class Float64Net:
    """Its repr becomes the name of tests, which must be the same in all processes that run them."""

    def __call__(self, d, k, *, rng):
        return nn.Sequential(nn.Linear(d, 100, rng=rng, **F64), nn.ReLU(), nn.Linear(100, k, rng=rng, **F64))

    def __repr__(self):
        return "float64_net"


def convnet(d, k, *, rng):
    return nn.Sequential(
        nn.Conv2d(d, 16, 3, padding=1, rng=rng),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2, rng=rng),
        nn.Linear(16 * 4 * 4, k, rng=rng),
    )


def frozen():
    layer = nn.Linear(3, 3)
    layer.weight.requires_grad = layer.bias.requires_grad = False
    return layer


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, random_state=0, stratify=y)


def blobs(n=60, d=3, k=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return rng.standard_normal((n, d)) + 2 * np.eye(k, d)[y], y


@pytest.mark.filterwarnings("ignore:Can't check dok sparse matrix for nan or inf")
@parametrize_with_checks(
    [
        NetClassifier(),
        NetRegressor(),
        NetClassifier(module=Float64Net(), early_stopping=True, validation_fraction=0.3),
        NetRegressor(module=Float64Net(), solver="sgd", learning_rate_init=0.01),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# ------------------------------------------------------------------------------------------- the same as scikit-learn's


def copied(perceptron):
    """The layers of a trained perceptron of scikit-learn."""
    layers = []
    for coef, intercept in zip(perceptron.coefs_, perceptron.intercepts_, strict=True):
        layer = nn.Linear(*coef.shape, **F64)
        layer.weight.value[...], layer.bias.value[...] = coef.T, intercept
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize(
    ("ours", "theirs"), [(NetClassifier, MLPClassifier), (NetRegressor, MLPRegressor)], ids=["classes", "numbers"]
)
@pytest.mark.parametrize(
    ("settings", "rtol"),
    [
        ({"solver": "sgd", "learning_rate_init": 0.1}, 1e-11),
        ({"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0, "alpha": 1.0}, 1e-11),
        ({"solver": "adam", "alpha": 0.1}, 1e-6),  # epsilon stands elsewhere there
    ],
    ids=["momentum", "decay", "adam"],
)
def test_from_the_same_weights_the_same_steps_lead_to_the_same_network(ours, theirs, settings, rtol):
    X, y = blobs()
    shared = {"batch_size": 25, "shuffle": False, "max_iter": 4, **settings}  # the last batch is smaller
    perceptron = theirs(hidden_layer_sizes=(5, 4), activation="tanh", random_state=0, **shared)
    start = clone(perceptron).set_params(max_iter=1, learning_rate_init=1e-300).fit(X, y)
    net = ours(module=copied(start), **shared).fit(X, y)
    perceptron.fit(X, y)
    layers = [layer for layer in net.module_ if isinstance(layer, nn.Linear)]
    for layer, coef, intercept in zip(layers, perceptron.coefs_, perceptron.intercepts_, strict=True):
        np.testing.assert_allclose(layer.weight.value, coef.T, rtol, rtol)
        np.testing.assert_allclose(layer.bias.value, intercept, rtol, rtol)
    assert not np.allclose(layer.weight.value, start.coefs_[-1].T, 1e-3)
    np.testing.assert_allclose(net.predict(X), perceptron.predict(X), 1e-5, 1e-6)


def test_one_step_is_the_one_by_hand():
    X, y = blobs()
    net = NetClassifier(module=nn.Linear(3, 3, **F64), solver="sgd", momentum=0, learning_rate_init=0.5, alpha=0.2)
    W, b = net.module.weight.value.copy(), net.module.bias.value.copy()
    net.partial_fit(X, y, classes=[0, 1, 2])
    e = np.exp(X @ W.T + b)
    g = (e / e.sum(1, keepdims=True) - np.eye(3)[y]) / 60
    np.testing.assert_allclose(net.module_.weight.value, W - 0.5 * (g.T @ X + 0.2 / 60 * W), 1e-12)
    np.testing.assert_allclose(net.module_.bias.value, b - 0.5 * g.sum(0), 1e-12)
    np.testing.assert_array_equal(net.module.weight.value, W)  # a copy was trained
    np.testing.assert_allclose(net.loss_curve_, [-np.log(e / e.sum(1, keepdims=True))[np.arange(60), y].mean()])


def test_it_is_as_accurate_as_scikit_learns_perceptron(digits):
    X, held_out, y, labels = digits
    settings = {"max_iter": 40, "learning_rate_init": 0.005, "random_state": 0}
    ours = NetClassifier(**settings).fit(X, y).score(held_out, labels)
    theirs = MLPClassifier(**settings).fit(X, y).score(held_out, labels)
    assert ours > 0.95
    assert abs(ours - theirs) < 0.02  # 450 examples: a standard error is 0.008


# ------------------------------------------------------------------------------------------------ what it is used for


def test_a_grid_search_over_a_pipeline_finds_what_is_better(digits):
    X, held_out, y, labels = digits
    pipeline = make_pipeline(StandardScaler(), NetClassifier(max_iter=5, random_state=0))
    grid = {"netclassifier__learning_rate_init": [1e-6, 0.01], "netclassifier__hidden_layer_sizes": [(16,), (32, 16)]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_params_["netclassifier__learning_rate_init"] == 0.01
    assert search.score(held_out, labels) > 0.9


def test_fits_in_threads_at_once_are_those_of_one_after_the_other(digits):
    X, held_out, y, _ = digits

    def trained(seed):
        return NetClassifier((16,), max_iter=5, random_state=seed).fit(X, y).predict_proba(held_out)

    with ThreadPoolExecutor(4) as threads:
        for seed, found in enumerate(threads.map(trained, range(4))):
            np.testing.assert_array_equal(found, trained(seed))


@pytest.mark.parametrize("backend", [pytest.param("loky", marks=pytest.mark.slow), "threading"])
def test_a_search_with_jobs_finds_what_it_finds_without(backend):
    X, y = blobs()
    net, grid = NetClassifier((4,), max_iter=5, random_state=0), {"learning_rate_init": [0.001, 0.1]}
    one = GridSearchCV(net, grid, cv=2).fit(X, y)
    with joblib.parallel_config(backend):
        two = GridSearchCV(net, grid, cv=2, n_jobs=2).fit(X, y)
    assert two.best_params_ == one.best_params_
    np.testing.assert_array_equal(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"])


def test_a_convolutional_network_reads_images(digits):
    X, held_out, y, labels = digits
    net = NetClassifier(module=convnet, max_iter=12, learning_rate_init=0.01, random_state=0)
    net.fit(X.reshape(-1, 1, 8, 8), y)
    assert net.n_features_in_ == 1
    assert net.score(held_out.reshape(-1, 1, 8, 8), labels) > 0.96
    assert cross_val_score(clone(net).set_params(max_iter=4), X.reshape(-1, 1, 8, 8), y, cv=2).min() > 0.8


def test_dropout_and_batch_norm_train_in_training_and_rest_in_prediction(digits):
    X, _, y, _ = digits
    images = X[:200].reshape(-1, 1, 8, 8)
    net = NetClassifier(module=convnet, max_iter=1, random_state=0).fit(images, y[:200])
    assert net.module_[1].running_mean.any()
    np.testing.assert_array_equal(net.predict_proba(images), net.predict_proba(images))
    np.testing.assert_allclose(net.predict_proba(images)[:10], net.predict_proba(images[:10]), 1e-5)


def test_images_are_flattened_for_the_perceptron():
    X, y = blobs(d=12)
    flat = NetClassifier(random_state=0, max_iter=3).fit(X, y)
    images = NetClassifier(random_state=0, max_iter=3).fit(X.reshape(-1, 3, 2, 2), y)
    np.testing.assert_array_equal(flat.predict_proba(X), images.predict_proba(X.reshape(-1, 3, 2, 2)))


def test_labels_may_be_anything_and_two_classes_are_classes_too():
    X, y = blobs(k=2)
    names = np.array(["no", "yes"])[y]
    net = NetClassifier(random_state=0, learning_rate_init=0.01).fit(X, names)
    assert list(net.classes_) == ["no", "yes"]
    assert set(net.predict(X)) == {"no", "yes"}
    assert net.score(X, names) > 0.9
    assert net.predict_proba(X).shape == (60, 2)
    np.testing.assert_allclose(net.predict_proba(X).sum(1), 1, 1e-6)
    np.testing.assert_allclose(np.exp(net.predict_log_proba(X)), net.predict_proba(X), 1e-5)
    np.testing.assert_array_equal(net.predict_proba(X)[:, 1] > 0.5, net.predict(X) == "yes")


def test_a_regressor_gives_back_the_shape_of_its_targets():
    X, _ = blobs()
    y = np.stack([X[:, 0] + X[:, 1], X[:, 2] ** 2], 1)
    net = NetRegressor((64,), learning_rate_init=0.01, random_state=0)
    both = net.fit(X, y).predict(X)
    assert both.shape == (60, 2)
    assert net.score(X, y) > 0.9
    assert net.fit(X, y[:, 0]).predict(X).shape == (60,)
    assert net.fit(X, y[:, :1]).predict(X).shape == (60, 1)


# ------------------------------------------------------------------------------------------- repeatable, and goes on


def test_a_fit_is_repeatable_bit_for_bit_and_random_state_decides(digits):
    X, held_out, y, _ = digits
    X, y = X.reshape(-1, 1, 8, 8)[:300], y[:300]

    def trained(seed):
        net = NetClassifier(module=convnet, max_iter=2, random_state=seed).fit(X, y)
        return net.predict_proba(held_out.reshape(-1, 1, 8, 8))

    np.testing.assert_array_equal(trained(0), trained(0))
    assert (trained(0) != trained(1)).any()


def test_partial_fits_are_the_epochs_of_a_fit(digits):
    X, held_out, y, _ = digits
    whole = NetClassifier(max_iter=3, random_state=0).fit(X, y)
    parts = NetClassifier(random_state=0)
    for _ in range(3):
        parts.partial_fit(X, y, classes=np.arange(10))
    assert whole.loss_curve_ == parts.loss_curve_
    assert whole.n_iter_ == parts.n_iter_ == 3
    np.testing.assert_array_equal(whole.predict_proba(held_out), parts.predict_proba(held_out))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_predicts_and_goes_on_as_the_original(digits, copied):
    X, held_out, y, _ = digits
    net = NetClassifier(module=convnet, random_state=0)
    X, held_out = X.reshape(-1, 1, 8, 8), held_out.reshape(-1, 1, 8, 8)
    net.partial_fit(X, y, classes=np.arange(10))
    other = copied(net)
    np.testing.assert_array_equal(net.predict_proba(held_out), other.predict_proba(held_out))
    net.partial_fit(X, y)
    np.testing.assert_array_equal(other.partial_fit(X, y).predict_proba(held_out), net.predict_proba(held_out))


def test_random_state_decides_the_dropout_of_a_network_that_exists():
    X, y = blobs()
    module = nn.Sequential(nn.Linear(3, 20), nn.Dropout(0.5), nn.Linear(20, 3))

    def losses(seed):
        module[1].rng.random()  # the state of its own generator is no matter
        return NetClassifier(module=module, shuffle=False, max_iter=3, random_state=seed).fit(X, y).loss_curve_

    assert losses(0) == losses(0) != losses(1)


def test_a_clone_of_a_trained_network_has_learned_nothing():
    X, y = blobs()
    net = NetClassifier(module=nn.Linear(3, 3), max_iter=2).fit(X, y)
    fresh = clone(net)
    assert not hasattr(fresh, "module_")
    np.testing.assert_array_equal(fresh.module.weight.value, net.module.weight.value)


def test_a_warm_start_goes_on_and_a_cold_one_begins_anew():
    X, y = blobs()
    warm = NetClassifier(max_iter=3, warm_start=True, random_state=0).fit(X, y)
    first = list(warm.loss_curve_)
    warm.set_params(learning_rate_init=0.1).fit(X, y)
    assert warm.n_iter_ == 6
    assert warm.loss_curve_[:3] == first
    assert warm.loss_curve_[-1] < first[-1] / 2
    assert warm.set_params(warm_start=False, learning_rate_init=0.001).fit(X, y).loss_curve_ == first


def test_training_ends_when_the_loss_no_longer_falls():
    X, y = blobs()
    net = NetClassifier(tol=0.01, n_iter_no_change=3, random_state=0).fit(X, y)
    losses = net.loss_curve_
    last_that_fell = max(i for i in range(1, net.n_iter_) if losses[i] <= min(losses[:i]) - 0.01)
    assert 4 < net.n_iter_ == last_that_fell + 1 + 4 < 200


@pytest.mark.parametrize("cls", [NetClassifier, NetRegressor])
def test_early_stopping_keeps_the_weights_that_score_best(cls):
    X, y = blobs(200)
    net = cls(early_stopping=True, n_iter_no_change=5, learning_rate_init=0.1, random_state=0).fit(X, y)
    assert net.n_iter_ == len(net.validation_scores_) < 200
    best = int(np.argmax(net.validation_scores_))
    assert best < net.n_iter_ - 1
    kept = cls(early_stopping=True, max_iter=best + 1, learning_rate_init=0.1, random_state=0).fit(X, y)
    np.testing.assert_array_equal(net.predict(X), kept.predict(X))
    first = kept.set_params(max_iter=1).fit(X, y)
    assert best > 0
    assert (first.predict(X) != net.predict(X)).any()


def test_verbose_writes_a_line_for_every_epoch(capsys):
    X, y = blobs()
    NetClassifier(max_iter=3, verbose=True, early_stopping=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[::2]] == ["Iteration 1", "Iteration 2", "Iteration 3"]
    assert all(line.startswith("Validation score: ") for line in lines[1::2])


# ---------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "rleu"}, "'activation' parameter of NetClassifier must be a str among"),
        ({"solver": "lbfgs"}, "'solver' parameter of NetClassifier must be a str among"),
        ({"hidden_layer_sizes": (10, 0)}, r"hidden_layer_sizes must be whole numbers > 0, got \[10, 0\]"),
        ({"hidden_layer_sizes": (10.5,)}, r"hidden_layer_sizes must be whole numbers > 0, got \[10.5\]"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"module": 3}, "'module' parameter of NetClassifier must be a callable or None"),
        ({"module": nn.Linear(3, 4)}, r"module gives an output of shape \(1, 4\) for one example, expected \(1, 3\)"),
        ({"module": frozen()}, "module has no parameter to train, expected at least one with requires_grad = True"),
        ({"solver": "sgd", "learning_rate_init": 1e30}, "non-finite parameter weights"),
        ({"early_stopping": True, "validation_fraction": 0.01}, "should be greater or equal to the number of classes"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_mistakes_are_told_as_scikit_learn_tells_them(settings, message):
    with pytest.raises(ValueError, match=message):
        NetClassifier(max_iter=3, random_state=0).set_params(**settings).fit(*blobs())


def test_numbers_too_large_for_the_networks_precision_are_refused():
    X, y = blobs()
    with pytest.raises(ValueError, match="too large for dtype\\('float32'\\)"):
        NetClassifier().fit(X * 1e60, y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"module": nn.Linear(3, 4)}, "module gives"),
        ({"solver": "sgd", "learning_rate_init": 1e30}, "non-finite"),
        ({"early_stopping": True, "validation_fraction": 0.01}, "number of classes"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_a_network_that_could_not_be_trained_is_not_fitted(settings, message):
    X, y = blobs()
    net = NetClassifier(max_iter=3).fit(X, y).set_params(**settings)
    with pytest.raises(ValueError, match=message):
        net.fit(X, y)
    with pytest.raises(NotFittedError):
        net.predict(X)


def test_a_network_that_diverges_further_on_is_no_longer_fitted():
    X, y = blobs()
    net = NetClassifier(solver="sgd", learning_rate_init=1e30).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="non-finite"):
        net.partial_fit(X, y)
    with pytest.raises(NotFittedError):
        net.predict(X)
    warm = NetRegressor(max_iter=3, warm_start=True, solver="sgd").fit(X, y).set_params(learning_rate_init=1e30)
    with pytest.raises(ValueError, match="non-finite"):
        warm.fit(X, y)
    with pytest.raises(NotFittedError):
        warm.predict(X)


def test_a_fit_that_goes_on_and_refuses_its_rows_leaves_what_was_learned():
    X, y = blobs()
    net = NetClassifier(max_iter=3, warm_start=True).fit(X, y)
    before = net.predict_proba(X)
    with pytest.raises(ValueError, match="previously unseen labels"):
        net.fit(X, y + 1)
    np.testing.assert_array_equal(net.predict_proba(X), before)


def test_ctrl_c_keeps_the_network(monkeypatch):
    X, y = blobs()
    net = NetClassifier(verbose=True, random_state=0)

    def press(line):
        if line.startswith("Iteration 2"):
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdout.write", press)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    two_epochs = NetClassifier(max_iter=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(net.predict_proba(X), two_epochs.predict_proba(X))


@pytest.mark.parametrize("cls", [NetClassifier, NetRegressor])
def test_rows_of_another_shape_are_refused(cls):
    X, y = blobs(d=12)
    net = cls(max_iter=2, warm_start=True).fit(X.reshape(-1, 3, 2, 2), y)
    message = rf"X has rows of shape \(3, 4, 1\), but {cls.__name__} is expecting rows of shape \(3, 2, 2\)"
    others = X.reshape(-1, 3, 4, 1)
    for use in (lambda: net.predict(others), lambda: net.partial_fit(others, y), lambda: net.fit(others, y)):
        with pytest.raises(ValueError, match=message):
            use()
    assert net.set_params(warm_start=False).fit(others, y).predict(others).shape == (60,)


def test_partial_fit_has_to_know_all_classes():
    X, y = blobs()
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        NetClassifier().partial_fit(X, y)
    net = NetClassifier().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="previously unseen labels"):
        net.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="not the same as on last call"):
        net.partial_fit(X, y, classes=[0, 1, 2, 3])
