"""`chainrule.compile`: a replayed step equals the eager step, bit for bit, and what cannot be replayed stays eager."""

import functools
import itertools
import threading
import warnings

import numpy as np
import pytest

import chainrule
from chainrule import Parameter, Tensor, nn, no_grad, ops, optim, using
from chainrule.kernels import replay
from chainrule.kernels.machine import jit
from chainrule.kernels.registry import call, empty

BACKENDS = ["cpu", "numpy"]
RULES = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
}


def mlp(sizes, activation=nn.Sigmoid, seed=0):
    rng = np.random.default_rng(seed)
    layers = [nn.Linear(sizes[0], sizes[1], rng=rng)]
    for d, m in itertools.pairwise(sizes[1:]):
        layers += [activation(), nn.Linear(d, m, rng=rng)]
    return nn.Sequential(*layers)


def convnet(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1, rng=rng),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 3, 3, rng=rng),
        nn.Flatten(),
        nn.Linear(27, 4, rng=rng),
    )


class Residual(nn.Module):
    def __init__(self, seed=0):
        self.first, self.second, self.last = (mlp((7, 7), seed=seed + i) for i in range(3))

    def __call__(self, x):
        x = x + ops.relu(self.first(x))
        return self.last(x + ops.relu(self.second(x)))


class Training:
    """A network, its optimizer and a step; ``runs`` counts how often Python runs the step."""

    def __init__(self, model, rule="SGD", compiled=False, inside=None):
        self.model, self.runs, self.inside = model, 0, inside
        self.optimizer = RULES[rule](list(model.parameters()))
        self.criterion = nn.CrossEntropyLoss()
        self.step = chainrule.compile(self.eager) if compiled else self.eager

    def eager(self, x, y):
        self.runs += 1
        loss = self.criterion(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        if self.inside:
            other = self.inside(self, loss)
            loss = loss if other is None else other
        self.optimizer.step()
        return loss

    def bits(self):
        state = {**self.model.state_dict(), **self.optimizer.state_dict()}
        grads = {f"grad {name}": p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        return {name: (a.shape, a.dtype, a.tobytes()) for name, a in {**state, **grads}.items()}


def batch(i, shape, classes):
    rng = np.random.default_rng(i)
    return rng.standard_normal(shape).astype(np.float32), rng.integers(0, classes, shape[0])


def same(make, shapes, classes, steps=30, rule="SGD", inside=None, between=None):
    """Train twins, one of them compiled, and compare all bits after every step. Returns the compiled one."""
    twins = [Training(make(), rule, compiled, inside) for compiled in (False, True)]
    for i in range(steps):
        x, y = batch(i, shapes[i % len(shapes)], classes)
        losses = [float(twin.step(x.copy(), y.copy())) for twin in twins]
        assert losses[0] == losses[1], f"step {i}"
        assert twins[0].bits() == twins[1].bits(), f"step {i}"
        if between:
            for twin in twins:
                between(twin, i)
    return twins[1]


@pytest.fixture(params=BACKENDS, autouse=True)
def _backend(request):
    with using(request.param):
        yield


# ------------------------------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.ReLU])
def test_networks_train_the_same(activation, rule):
    trained = same(lambda: mlp((5, 17, 3), activation), [(11, 5)], 3, rule=rule)
    assert trained.runs == 2  # the other 28 steps were replayed


def test_one_example_at_a_time():
    assert same(lambda: mlp((2, 3, 10)), [(1, 2)], 10, steps=40).runs == 2


def test_a_convnet_with_running_statistics():
    trained = same(convnet, [(6, 2, 10, 10)], 4, rule="Adam")
    assert trained.runs == 3  # the first shows that there are running statistics
    assert trained.model[1].num_batches_tracked == 30


def test_a_graph_that_branches():
    assert same(Residual, [(5, 7)], 7).runs == 2


def test_each_size_of_batch_has_its_own_recording():
    assert same(lambda: mlp((5, 4, 3)), [(8, 5), (8, 5), (3, 5)], 3).runs == 4


def test_many_sizes_are_not_all_kept():
    trained = same(lambda: mlp((5, 4, 3)), [(n, 5) for n in range(1, 31)], 3, steps=60)
    assert trained.runs == 60
    assert len(trained.step._plans) == replay.PLANS


def test_the_learning_rate_may_change_between_steps():
    def between(twin, i):
        twin.optimizer.lr *= 0.5

    assert same(lambda: mlp((5, 4, 3)), [(8, 5)], 3, between=between).runs == 2


def test_a_schedule_in_the_step():
    def schedule(twin, loss):
        if not hasattr(twin, "schedule"):
            twin.schedule = optim.CosineAnnealingLR(twin.optimizer, T_max=40)
        twin.schedule.step()

    trained = same(lambda: mlp((5, 4, 3)), [(8, 5)], 3, rule="Adam", inside=schedule)
    assert trained.runs == 2
    assert trained.schedule.last_epoch == 30


def test_numpy_between_the_ops_is_recorded():
    def clip(twin, loss):
        optim.clip_grad_value_(list(twin.model.parameters()), 0.01)
        for p in twin.model.parameters():
            p.grad += np.float32(0.001) * np.where(p.grad > 0, p.grad, 0)
        return Tensor(loss.value.reshape(1, 1)[0].sum() / 2)

    assert same(lambda: mlp((5, 4, 3)), [(8, 5)], 3, inside=clip).runs == 2


def test_targets_and_inputs_of_other_types_and_layouts():
    rng = np.random.default_rng(0)
    weight = Parameter(rng.standard_normal((3, 4)).astype(np.float32))

    def step(x, y):
        weight.grad = None
        loss = ops.mse_loss(ops.linear(x.T[::-1] * 2, weight), y)
        loss.backward()
        return loss, weight.grad

    compiled = chainrule.compile(step)
    big = rng.standard_normal((20, 8, 5)).astype(np.float32)
    for i in range(8):
        x, y = big[i, ::2], Tensor(big[i, :5, :3])  # gaps in memory
        expected, g = step(x, y)
        loss, found = compiled(x, y)
        assert (float(expected), g.tobytes()) == (float(loss), found.tobytes())
        assert np.asarray(weight.grad).tobytes() == g.tobytes()


def test_inference():
    model = convnet().eval()
    predict = no_grad()(lambda x: model(x))
    compiled = chainrule.compile(predict)
    results = []
    for i in range(6):
        x, _ = batch(i, (3, 2, 10, 10), 4)
        results.append((predict(x).value, compiled(x).value))
    assert len({a.tobytes() for a, _ in results}) == 6
    assert all(a.tobytes() == b.tobytes() for a, b in results)  # each result keeps its numbers
    assert not compiled(x).requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("turned", [False, True])
def test_large_results_are_the_callers_own(backend, turned):
    model = mlp((30, 200, 400))

    @chainrule.compile
    def step(x):
        with no_grad():
            hidden = model(x)
            y = ops.sigmoid(hidden)
            return (y.T if turned else y), hidden, (y * hidden).sum(), y[:2]

    batches = [np.random.default_rng(i).standard_normal((100, 30)).astype(np.float32) for i in range(5)]
    assert replay.LARGE < 100 * 400 * 4
    with using(backend):
        found = [step(x) for x in batches]
        for x, (y, hidden, total, part) in zip(batches, found, strict=True):  # what was returned before is still there
            expected = model(x).value
            assert np.array_equal(hidden.value, expected)
            assert np.array_equal(y.value.T if turned else y.value, ops.sigmoid(expected))
            assert np.array_equal(part.value, ops.sigmoid(expected)[:2])
            assert np.array_equal(total.value, (ops.sigmoid(expected) * expected).sum())
        found[-1][1].value[...] = 7  # and may be written into
        assert np.array_equal(step(batches[0])[1].value, found[0][1].value)
    assert any(isinstance(plan, replay.Plan) for plan in step._plans.values())


def test_switching_between_training_and_evaluation():
    twins = [convnet(), convnet()]
    compiled = chainrule.compile(lambda x: twins[1](x))
    for i in range(20):
        for twin in twins:
            twin.train(i % 8 < 4)
        x, _ = batch(i, (3, 2, 10, 10), 4)
        assert twins[0](x).value.tobytes() == compiled(x).value.tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*(t.state_dict().values() for t in twins), strict=True))


def test_a_method_is_a_step():
    class Net:
        def __init__(self, factor):
            self.weight = Parameter(np.full(3, factor, np.float32))

        @chainrule.compile
        def step(self, x):
            return (self.weight * x).sum()

    one, ten = Net(1.0), Net(10.0)
    for i in range(4):
        x = np.arange(3, dtype=np.float32) + i
        assert float(one.step(x)) == x.sum()
        assert float(ten.step(x)) == 10 * x.sum()


def test_gradients_cleared_outside_of_the_step_and_gradients_that_add_up():
    def backward_only(twin):
        def step(x, y):
            twin.runs += 1
            loss = twin.criterion(twin.model(x), y)
            loss.backward()
            return loss

        return step

    for clear in (lambda i: True, lambda i: i % 3 == 0, lambda i: i < 6 and i % 2 == 0):
        twins = [Training(mlp((5, 4, 3))), Training(mlp((5, 4, 3)))]
        steps = [backward_only(twins[0]), chainrule.compile(backward_only(twins[1]))]
        for i in range(12):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert len({float(step(*batch(i, (8, 5), 3))) for step in steps}) == 1
            assert twins[0].bits() == twins[1].bits()
            if clear(i):
                for twin in twins:
                    twin.optimizer.step()
                    twin.model.zero_grad()
        assert twins[1].runs < 12 or not clear(2)  # a gradient that grew in one of the first two steps stays eager


# --------------------------------------------------------------------------------------------- what stays eager


def stays_eager(reason, inside=None, make=lambda: mlp((5, 4, 3)), steps=8):
    """The step gives the same as the eager one, each time by running it, and one warning says why."""
    with pytest.warns(UserWarning, match=reason) as caught:
        trained = same(make, [(8, 5)], 3, steps=steps, inside=inside)
    assert trained.runs == steps
    assert len(caught) == 1


def test_dropout_stays_eager():
    def make():
        net = mlp((5, 4, 3))
        return nn.Sequential(net, nn.Dropout(0.5, rng=np.random.default_rng(1)))

    stays_eager("dropout: its input mask is an array that code which is not recorded makes anew", make=make)


@pytest.mark.parametrize("take", [float, bool, lambda v: v.item(), lambda v: v.tolist(), lambda v: v > 0.5 or 0])
def test_control_flow_on_numbers_stays_eager(take):
    def inside(twin, loss):
        return loss * 2 if take(loss.value) > 0.9 else None

    stays_eager("takes a number out of an array", inside)


def test_a_number_that_changes_stays_eager():
    stays_eager("a number in it changes from step to step: 1.0 and then 2.0", lambda twin, loss: loss * twin.runs)
    stays_eager("multiply was given 1 and in the next step 2", lambda twin, loss: Tensor(loss.value * twin.runs))


def test_other_work_in_the_next_step_stays_eager():
    stays_eager("in the next step", lambda twin, loss: ops.exp(loss) if twin.runs % 2 else ops.tanh(loss))
    stays_eager("SGD.step and in the next step", lambda twin, loss: None if twin.runs % 2 else ops.tanh(loss))
    stays_eager("something else", lambda twin, loss: None if twin.runs % 2 else Tensor(loss.value.reshape(1)))


def test_more_work_in_the_next_step_stays_eager():
    counts = itertools.count(1)
    compiled = chainrule.compile(lambda x: functools.reduce(lambda y, _: ops.tanh(y), range(next(counts)), x))
    x, _ = batch(0, (2, 5), 3)
    compiled(x)
    with pytest.warns(UserWarning, match="the next step computed more or less than the one before"):
        compiled(x)
    assert compiled(x).tobytes() == ops.tanh(ops.tanh(ops.tanh(x))).tobytes()


def test_what_is_not_seen_stays_eager():
    def decay(twin, loss):
        for p in twin.model.parameters():
            p.value *= 0.99

    def count(twin, loss):
        twin.optimizer.state[0]["step"] += 1

    def copied(twin, loss):
        return Tensor(np.array(loss.value))

    stays_eager("another result \\(an array that it changes\\)", decay)
    stays_eager("another result \\(SGD\\)", count)
    stays_eager("what the step returns is an array", copied)


def test_sizes_that_depend_on_numbers_stay_eager():
    def inside(twin, loss):
        g = next(twin.model.parameters()).grad
        return Tensor(g[g > 0].sum())

    stays_eager("the size of what __getitem__ returns depends on the numbers", inside)


def test_a_kernel_that_computes_on_the_side_stays_eager():
    @chainrule.op("... -> ...")
    def doubled(x):
        return 2 * x, (lambda gy: 2 * gy,)

    @doubled.kernel("cpu")
    def _(x):
        return np.multiply(np.asarray(x), 2), (lambda gy: 2 * gy,)

    model = mlp((5, 4, 3))
    step = chainrule.compile(lambda x: doubled(model(x)))
    x, _ = batch(0, (2, 5), 3)
    if chainrule.engine._state.backend == "cpu":
        with pytest.warns(UserWarning, match="the kernel of doubled computed a result without call"):
            step(x)
    for _ in range(4):
        assert step(x).value.tobytes() == doubled(model(x)).value.tobytes()
    del chainrule.OPS["doubled"]


# ------------------------------------------------------------------------------------------------- what happens outside


def test_loaded_weights_are_used_and_replaced_arrays_noticed():
    other = mlp((5, 4, 3), seed=9).state_dict()

    def between(twin, i):
        if i == 5:
            twin.model.load_state_dict(other)
        if i == 10:
            twin.model[0].weight.value = other["0.weight"].copy()

    assert same(lambda: mlp((5, 4, 3)), [(8, 5)], 3, steps=20, between=between).runs == 4


def test_an_error_in_a_step_leaves_nothing_behind():
    def inside(twin, loss):
        if twin.runs == 1:
            twin.runs = 0
            twin.failures = getattr(twin, "failures", 0) + 1
            if twin.failures < 3:
                raise KeyError("the step's own error")
            twin.runs = 1

    twin, eager = Training(convnet(), compiled=True, inside=inside), Training(convnet())
    for _ in range(2):
        with pytest.raises(KeyError, match="own error"):
            twin.step(*batch(0, (4, 2, 10, 10), 4))
    assert all(
        type(a) is np.ndarray for m in twin.model.modules() for a in vars(m).values() if isinstance(a, np.ndarray)
    )
    assert all(type(p.grad) is np.ndarray and type(p.value) is np.ndarray for p in twin.model.parameters())
    assert chainrule.engine._state.recorder is None
    for p, q in zip(eager.model.state_dict().values(), twin.model.state_dict().values(), strict=True):
        p[...] = q
    eager.model.load_state_dict(twin.model.state_dict())
    for i in range(6):
        x, y = batch(i, (4, 2, 10, 10), 4)
        assert float(eager.step(x, y)) == float(twin.step(x, y))


def test_a_label_that_is_no_class_raises_when_replayed_too():
    trained = same(lambda: mlp((5, 4, 3)), [(8, 5)], 3, steps=4)
    before = trained.model.state_dict()
    x, y = batch(0, (8, 5), 3)
    with pytest.raises(ValueError, match="cross_entropy: target holds"):
        trained.step(x, y + 1)
    assert all((a == before[name]).all() for name, a in trained.model.state_dict().items())
    eager = Training(mlp((5, 4, 3)))
    for i in range(4):
        eager.step(*batch(i, (8, 5), 3))
    assert float(trained.step(x, y)) == float(eager.step(x, y))
    assert trained.runs == 2


def test_a_step_in_a_step():
    trained = Training(mlp((5, 4, 3)), compiled=True)
    outer = chainrule.compile(lambda x, y: trained.step(x, y) * 3)
    eager = Training(mlp((5, 4, 3)))
    for i in range(8):
        x, y = batch(i, (8, 5), 3)
        assert float(outer(x, y)) == float(eager.step(x, y) * 3)
    assert trained.runs == 2


def test_threads_take_turns():
    model = mlp((5, 40, 3))
    compiled = chainrule.compile(no_grad()(lambda x: model(x)))
    data = [batch(i, (8, 5), 3)[0] for i in range(40)]
    expected = [model(x).value.tobytes() for x in data]
    backend, wrong = chainrule.engine._state.backend, []

    def work(places):
        with using(backend):
            wrong.extend(i for i in places if compiled(data[i]).value.tobytes() != expected[i])

    threads = [threading.Thread(target=work, args=(range(i, 40, 4),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_observer_sees_every_call():
    model, seen = mlp((5, 4, 3)), []
    compiled = chainrule.compile(lambda x: model(x))
    x, _ = batch(0, (8, 5), 3)
    for _ in range(3):
        compiled(x)
    with nn.module.observe(lambda module, inputs, output: seen.append(module)):
        compiled(x)
    assert seen == [*model, model]


# -------------------------------------------------------------------------------------------------------------- memory


def test_arrays_in_use_at_the_same_time_do_not_overlap():
    rng = np.random.default_rng(0)
    for _ in range(200):
        first = rng.integers(0, 20, 15)
        lives = {m: (int(f), int(f + rng.integers(0, 6)), int(rng.integers(0, 500))) for m, f in enumerate(first)}
        places, end = replay.arranged(lives)
        for m, (first_m, last_m, size_m) in lives.items():
            assert places[m] + size_m <= end
            assert places[m] % replay.LINE == 0
            for o, (first_o, last_o, size_o) in lives.items():
                apart = places[m] + size_m <= places[o] or places[o] + size_o <= places[m]
                assert m == o or last_m < first_o or last_o < first_m or apart or 0 in (size_m, size_o)


def test_memory_is_used_again_in_the_step():
    deep = chainrule.compile(no_grad()(lambda x: model(x)))
    model = mlp((50,) * 12)
    x, _ = batch(0, (100, 50), 3)
    for _ in range(3):
        deep(x)
    (plan,) = deep._plans.values()
    assert plan._arena.nbytes < 4 * x.nbytes  # of 23 results of this size


# -------------------------------------------------------------------------------------------------------------- fusion


@jit
def _twice(x, y):
    for i in range(len(x)):
        y[i] = x[i] * np.float32(2)


@jit
def _plus_one(x, y):
    for i in range(len(x)):
        y[i] = x[i] + np.float32(1)


@jit
def _twice_plus_one(x, y):
    for i in range(len(x)):
        y[i] = x[i] * np.float32(2) + np.float32(1)


@pytest.mark.parametrize("between_is_returned", [False, True])
def test_neighbours_become_one_function(monkeypatch, between_is_returned):
    monkeypatch.setitem(replay.FUSED, (_twice, _plus_one), _twice_plus_one)

    def step(x):
        between, y = empty(x.shape), empty(x.shape)
        call(_twice, x, between)
        call(_plus_one, between, y)
        return (between, y) if between_is_returned else y

    compiled = chainrule.compile(step)
    x = np.array([1.0, 0.1, np.inf], np.float32)
    for _ in range(4):
        found = compiled(x)
        assert np.array_equal(found[1] if between_is_returned else found, x * 2 + 1)
    (plan,) = compiled._plans.values()
    assert [f for f, _ in plan._calls] == ([_twice, _plus_one] if between_is_returned else [_twice_plus_one])
