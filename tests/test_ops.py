"""Every op of the registry, on every sample it declares, against truths that do not come from its rule."""

import inspect

import numpy as np
import pytest

import chainrule.ops
from chainrule import OPS, Tensor
from chainrule.check import draw, numeric_gradient

LIBRARY = {name: op for name, op in OPS.items() if op.__module__.startswith("chainrule.ops.")}


def for_each_op(chosen=lambda op: True):
    """Run a test for every op of the library that is chosen."""
    found = {name: op for name, op in LIBRARY.items() if chosen(op)}
    return pytest.mark.parametrize("op", found.values(), ids=found)


def for_each_case(chosen=lambda op: True):
    """Run a test for every sample of every op that is chosen."""
    cases = [(op, s, f"{op.name}-{i}") for op in LIBRARY.values() if chosen(op) for i, s in enumerate(op.samples)]
    return pytest.mark.parametrize(("op", "sample"), [pytest.param(op, s, id=name) for op, s, name in cases])


each_case, each_op = for_each_case(), for_each_op()


class Case:
    """An op on one sample: inputs, value, pullbacks, and a gradient coming in."""

    def __init__(self, op, sample, seed=1):
        self.op, self.params = op, sample.params
        self.rng = np.random.default_rng(seed)
        self.inputs = draw(op, sample, self.rng)
        self.y, self.pullbacks = op.run(self.inputs, self.params)
        self.y = np.asarray(self.y)
        self.gy = self.rng.standard_normal(self.y.shape)

    @property
    def wanted(self):
        """Places of the inputs that have a gradient."""
        return [i for i, x in enumerate(self.inputs) if x.dtype == np.float64 and self.pullbacks[i] is not None]

    def loss_of(self, i):
        """The number sum(gy * y) as a function of input i."""

        def loss(x):
            inputs = [*self.inputs[:i], x, *self.inputs[i + 1 :]]
            return (self.gy * self.op.run(inputs, self.params)[0]).sum()

        return loss


def close(found, expected, error=0.0, rtol=1e-8):
    scale = 1 + np.max(np.abs(expected), initial=0.0)
    assert np.shape(found) == np.shape(expected)
    assert np.all(np.abs(found - expected) <= rtol * scale + 10 * error), f"found\n{found}\nexpected\n{expected}"


@each_case
def test_pullbacks_equal_numeric_truth(op, sample):
    case = Case(op, sample)
    for i in case.wanted:
        truth = numeric_gradient(case.loss_of(i), case.inputs[i])
        assert np.all(truth.error <= 1e-6), "the sample lies at a kink or its truth cannot be trusted: declare a domain"
        close(case.pullbacks[i](case.gy), truth.value, truth.error)


@for_each_case(lambda op: op.textbook)  # a primitive has nothing simpler
def test_rule_equals_the_tape_through_the_textbook(op, sample):
    case = Case(op, sample)
    tensors = [Tensor(x, requires_grad=i in case.wanted) for i, x in enumerate(case.inputs)]
    y = op.textbook(*tensors, **case.params)
    close(y.value, case.y, rtol=1e-12)
    y.backward(case.gy)
    for i in case.wanted:
        found = np.zeros_like(case.inputs[i]) if tensors[i].grad is None else tensors[i].grad
        close(found, case.pullbacks[i](case.gy), rtol=1e-11)


@each_case
def test_pullbacks_are_linear_in_gy(op, sample):
    case = Case(op, sample)
    other = case.rng.standard_normal(case.y.shape)
    for i in case.wanted:
        pull = case.pullbacks[i]
        close(pull(2.5 * case.gy - 0.5 * other), 2.5 * pull(case.gy) - 0.5 * pull(other), rtol=1e-12)


@each_case
def test_nothing_given_is_modified_and_calls_repeat(op, sample):
    case = Case(op, sample)
    before = [x.copy() for x in (*case.inputs, case.gy, case.y)]
    first = [np.array(case.pullbacks[i](case.gy)) for i in case.wanted]
    again = [np.array(case.pullbacks[i](case.gy)) for i in case.wanted]
    for x, kept in zip((*case.inputs, case.gy, case.y), before, strict=True):
        np.testing.assert_array_equal(x, kept)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


@each_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_shape_are_kept(op, sample, dtype):
    case = Case(op, sample)
    inputs = [x.astype(dtype) if x.dtype == np.float64 else x for x in case.inputs]
    y, pullbacks = op.run(inputs, case.params)
    if "dtype" not in case.params:
        assert np.asarray(y).dtype == dtype
    for i in case.wanted:
        gx = np.asarray(pullbacks[i](case.gy.astype(np.asarray(y).dtype)))
        assert gx.shape == inputs[i].shape
        assert gx.dtype == dtype
        close(gx, case.pullbacks[i](case.gy), rtol=1e-12 if dtype == np.float64 else 2e-5)


def strided(x):
    """The same numbers, neither contiguous nor in C order."""
    big = np.zeros(tuple(2 * n for n in x.shape[::-1]), x.dtype).T
    view = big[(..., *(slice(None, None, 2) for _ in x.shape))]
    view[...] = x
    return view


@each_case
def test_memory_layout_does_not_matter(op, sample):
    case = Case(op, sample)
    y, pullbacks = op.run([strided(x) for x in case.inputs], case.params)
    close(y, case.y, rtol=1e-13)
    for i in case.wanted:
        close(pullbacks[i](strided(case.gy)), case.pullbacks[i](case.gy), rtol=1e-13)


@each_case
def test_recorded_equals_by_hand_bit_for_bit(op, sample):
    case = Case(op, sample)
    tensors = [Tensor(x, requires_grad=True) if i in case.wanted else x for i, x in enumerate(case.inputs)]
    y = op(*tensors, **case.params)
    np.testing.assert_array_equal(y.value, case.y)
    assert y.source.op is op
    y.backward(case.gy)
    for i in case.wanted:
        np.testing.assert_array_equal(tensors[i].grad, case.pullbacks[i](case.gy))


@each_case
def test_second_derivatives_equal_numeric_truth(op, sample):
    """The derivatives of sum(v * gx), for the gradient gx of each input, with respect to gy and to every input."""
    case = Case(op, sample)
    for i in case.wanted:
        v = case.rng.standard_normal(case.inputs[i].shape)
        gy = Tensor(case.gy, requires_grad=True)
        tensors = [Tensor(x, requires_grad=k in case.wanted) for k, x in enumerate(case.inputs)]
        op(*tensors, **case.params).backward(gy, create_graph=True)
        gx = tensors[i].grad
        close(gx.value, case.pullbacks[i](case.gy), rtol=1e-13)
        for tensor in tensors:
            tensor.grad = None
        if gx.requires_grad:
            gx.backward(v)
        for tensor, place in [(gy, None), *((tensors[k], k) for k in case.wanted)]:

            def first(z, place=place, i=i, v=v):
                inputs = [z if k == place else x for k, x in enumerate(case.inputs)]
                return (v * op.run(inputs, case.params)[1][i](z if place is None else case.gy)).sum()

            truth = numeric_gradient(first, tensor.value)
            found = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad
            close(found, truth.value, truth.error, rtol=1e-7)


@for_each_op(lambda op: op.signature.output != ["_"])  # there the hyper-parameters decide
def test_output_shape_is_the_declared_one(op):
    case = Case(op, op.samples[0])
    sizes = {}
    for spec, x in zip(op.signature.inputs, case.inputs, strict=False):
        own = [letter for letter in spec if letter != "..."]
        sizes.update(zip(own, x.shape[x.ndim - len(own) :], strict=True))
    own = [letter for letter in op.signature.output if letter != "..."]
    leading = [
        x.shape[: x.ndim - len([letter for letter in spec if letter != "..."])]
        for spec, x in zip(op.signature.inputs, case.inputs, strict=False)
    ]
    assert case.y.shape == (*np.broadcast_shapes(*leading), *(sizes[letter] for letter in own))


@for_each_op(lambda op: op.linear)
def test_declared_linear_is_linear(op):
    for sample in op.samples:
        a, b = Case(op, sample, seed=1), Case(op, sample, seed=2)
        mixed = [2.0 * x - 3.0 * z for x, z in zip(a.inputs, b.inputs, strict=True)]
        close(op.run(mixed, a.params)[0], 2.0 * a.y - 3.0 * b.y, rtol=1e-12)


@for_each_op(lambda op: op.kinks)
def test_kinks_follow_their_stated_convention(op):
    for kink in op.kinks:
        inputs = [np.asarray(x, np.float64) for x in kink.inputs]
        y, pullbacks = op.run(inputs, kink.params)
        for pull, expected in zip(pullbacks, kink.gives, strict=False):
            np.testing.assert_array_equal(pull(np.ones(np.shape(y))), expected)


@each_op
def test_pullbacks_are_named_after_their_inputs(op):
    case = Case(op, op.samples[0])
    for name, pull in zip(op._names(case.inputs), case.pullbacks, strict=False):
        if pull is not None and not op.variadic:
            assert pull.__name__ == f"g{name}"


@each_op
def test_docstring_has_its_parts(op):
    doc = inspect.getdoc(op.rule)
    for part in ("Forward:", "Backward:", "Derivation:", "Source:", ".. math::", ">>> "):
        assert part in doc, f"{op.name} has no {part}"


@each_op
def test_hyper_parameters_are_keywords_with_defaults_or_required(op):
    parameters = inspect.signature(op.rule).parameters.values()
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters)
    assert op.name in chainrule.ops.__all__
