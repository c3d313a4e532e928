"""ONNX: a network as a file that other runtimes execute.

The network is run once on Tensors, in evaluation mode, and its tape is translated op by op. So whatever is composed of
ops that have a translation here can be exported, whichever way it was written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.engine import Source, Tensor, watching
from chainrule.errors import UsageError, UserError
from chainrule.nn import Module, observe

if TYPE_CHECKING:
    import onnx

OPSET = 20  # the first with GELU

TRANSLATIONS: dict[str, Callable[..., str]] = {}  # name of an op -> what adds its nodes to a graph


def to_onnx(
    model: Module,
    input_shape: Sequence[int],
    path: str | Path | None = None,
    *,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """The network in evaluation mode as an ONNX model, for batches of any size.

    Its input is called `input`, its output `output`; parameters and running statistics keep their names. All numbers
    are float32, whatever the network's precision: runtimes convolve nothing wider.

    Args:
        model: any module whose input is one array; its mode is as before afterwards.
        input_shape: of one example, without the batch.
        path: where the model is written too, whole or not at all.
        metadata: texts that the file carries, by name (`metadata_props`).

    Raises:
        UserError: an op of the network has no translation, or one of its constants depends on the size of the batch; or
            the file cannot be written.
        UsageError: the package onnx is not installed.

    >>> from chainrule import nn
    >>> model = to_onnx(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (4,))
    >>> [node.op_type for node in model.graph.node], [array.name for array in model.graph.initializer]
    (['Gemm', 'Relu'], ['0.weight', '0.bias'])
    """
    try:
        import onnx
    except ImportError:
        raise UsageError("the package onnx is not installed: pip install 'chainrule[onnx]'") from None
    graph = Graph(model)
    # What differs between the tapes of two batch sizes depends on the batch.
    two, three = (_record(model, np.zeros((size, *input_shape), _dtype(model))) for size in (2, 3))
    if len(two.steps) != len(three.steps):
        raise UserError(f"{type(model).__name__} runs as many ops as there are examples: it cannot be exported")
    graph.know(two.x, "input")
    for step, other in zip(two.steps, three.steps, strict=True):
        graph.translate(step, other)
    output = graph.output(two.y)
    sizes = list(zip(two.y.shape, three.y.shape, strict=True))
    output_shape = ["batch" if pair == (2, 3) else pair[0] if pair[0] == pair[1] else None for pair in sizes]
    float32 = onnx.TensorProto.FLOAT
    exported = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            type(model).__name__,
            [onnx.helper.make_tensor_value_info("input", float32, ["batch", *input_shape])],
            [onnx.helper.make_tensor_value_info(output, float32, output_shape)],
            graph.initializers,
        ),
        producer_name="chainrule",
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )
    exported.ir_version = onnx.helper.find_min_ir_version_for(exported.opset_import)
    onnx.helper.set_model_props(exported, dict(metadata or {}))
    onnx.checker.check_model(exported, full_check=True)
    if path is not None:
        from chainrule.files import write_atomically

        write_atomically(Path(path), exported.SerializeToString())
    return exported


def _dtype(model: Module) -> np.dtype:
    return next((p.dtype for p in model.parameters()), np.dtype(np.float32))


# ------------------------------------------------------------------------------------------------------------- tape


class Step(NamedTuple):
    """One op on the tape: how its result was made, and the layer that called it."""

    y: np.ndarray
    source: Source
    layer: str


class Tape(NamedTuple):
    """What one run of a network recorded. It keeps all arrays alive, so that each is known by its identity."""

    x: np.ndarray
    steps: list[Step]
    y: np.ndarray


def _record(model: Module, x: np.ndarray) -> Tape:
    """Run the model on a Tensor in evaluation mode."""
    names = {module: name for name, module in model.named_modules()}
    modes = {module: module.training for module in names}
    made: list[Tensor] = []
    layers: list[str] = []  # one for every tensor in made

    def see(module: Module, inputs: tuple, output: Any) -> None:
        """The results without a layer are this module's own: those of its children have theirs already."""
        layers.extend([names.get(module) or type(module).__name__] * (len(made) - len(layers)))

    model.eval()
    try:
        with watching(made.append), observe(see), np.errstate(all="ignore"):  # the numbers do not matter
            y = model(Tensor(x, requires_grad=True))
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not isinstance(y, Tensor) or y.source is None:
        raise UserError(f"{type(model).__name__} does not return one array made from its input: it cannot be exported")
    steps = [Step(t.value, t.source, layer) for t, layer in zip(made, layers, strict=True) if t.source is not None]
    return Tape(x, steps, y.value)


# ------------------------------------------------------------------------------------------------------------ graph


class Graph:
    """An ONNX graph while it grows. A value in it is known by its name; :meth:`add` returns that of the result."""

    def __init__(self, model: Module):
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {}  # by name; of the batch of two
        self.result: tuple[int, ...] = ()  # shape of what is translated now; -1 where it depends on the batch
        self._names: dict[int, str] = {}  # id of an array on the tape -> its name in the graph
        # A parameter that is shared has the first of its names.
        self._state = {id(getattr(value, "value", value)): name for name, value in reversed(list(model._state()))}
        self._prefix = ""  # of the names of what is added now
        self._taken: Counter[str] = Counter()

    def know(self, array: np.ndarray, name: str) -> None:
        """This array of the tape is called ``name`` in the graph."""
        self._names[id(array)] = name
        self.shapes[name] = array.shape

    def translate(self, step: Step, other: Step) -> None:
        """Add the nodes of one step; ``other`` is the same step for another size of the batch."""
        op = step.source.op
        where = f"{step.layer}: the op {op.name}"
        if op.name not in TRANSLATIONS:
            known = ", ".join(sorted(TRANSLATIONS))
            raise UserError(f"{where} has no translation to ONNX; those that have one: {known}")
        given, others = step.source.params, other.source.params
        alike = [given == others or op.name == "reshape"]  # which takes its shape from the result
        alike += [
            np.array_equal(a, b)
            for a, b in zip(step.source._values, other.source._values, strict=True)
            if id(a) not in self._names and id(a) not in self._state
        ]
        if not all(alike):
            raise UserError(f"{where} has constants that depend on the number of examples: it cannot be exported")
        self._prefix = f"{step.layer}.{op.name}"
        self.result = tuple(a if a == b else -1 for a, b in zip(step.y.shape, other.y.shape, strict=True))
        inputs = [self._name(array) for array in step.source._values]
        self.know(step.y, TRANSLATIONS[op.name](self, *inputs, **{**op.params, **given}))

    def add(self, op_type: str, *inputs: str | None, **attributes: Any) -> str:
        """A node of this type; None among the inputs is one that is left out."""
        from onnx import helper

        name = self._new_name()
        given = ["" if x is None else x for x in inputs]
        while given[-1] == "":  # onnxruntime can crash on what is left out at the end
            given.pop()
        self.nodes.append(helper.make_node(op_type, given, [name], name=name, **attributes))
        return name

    def constant(self, value: Any, name: str | None = None) -> str:
        """An array that is part of the graph: float32, or int64 if it holds integers."""
        from onnx import numpy_helper

        array = np.asarray(value)
        name = name or self._new_name()
        self.initializers.append(numpy_helper.from_array(array.astype("f4" if array.dtype.kind == "f" else "i8"), name))
        self.shapes[name] = array.shape
        return name

    def output(self, y: np.ndarray) -> str:
        """Call the value of this array ``output``, which is returned."""
        before = self._names[id(y)]
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = ["output" if name == before else name for name in names]
        return "output"

    def _name(self, array: np.ndarray | None) -> str | None:
        """What an input of an op is called in the graph; what is not there yet becomes a part of it."""
        if array is not None and id(array) not in self._names:
            self.know(array, self.constant(array, self._state.get(id(array))))
        return None if array is None else self._names[id(array)]

    def _new_name(self) -> str:
        self._taken[self._prefix] += 1
        count = self._taken[self._prefix]
        return self._prefix if count == 1 else f"{self._prefix}:{count}"


# ----------------------------------------------------------------------------------------------------- translations


def translates(*names: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Register a translation: it takes the graph, the names of the op's inputs and its hyper-parameters."""

    def register(function: Callable[..., str]) -> Callable[..., str]:
        TRANSLATIONS.update(dict.fromkeys(names, function))
        return function

    return register


# Ops that are one node without attributes, of the same inputs.
_ALIKE = {
    "identity": "Identity", "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "neg": "Neg",
    "maximum": "Max", "minimum": "Min", "matmul": "MatMul", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs",
    "sin": "Sin", "cos": "Cos", "erf": "Erf", "relu": "Relu", "selu": "Selu", "sigmoid": "Sigmoid", "tanh": "Tanh",
}  # fmt: skip


def _alike(op_type: str) -> Callable[..., str]:
    return lambda to, *inputs: to.add(op_type, *inputs)


TRANSLATIONS.update({name: _alike(op_type) for name, op_type in _ALIKE.items()})


@translates("linear")
def _linear(to: Graph, x: str, weight: str, bias: str | None = None) -> str:
    if len(to.shapes[x]) == 2:
        return to.add("Gemm", x, weight, bias, transB=1)
    product = to.add("MatMul", x, to.add("Transpose", weight, perm=[1, 0]))
    return product if bias is None else to.add("Add", product, bias)


@translates("conv1d", "conv2d")
def _conv(to: Graph, x: str, weight: str, bias: str | None = None, *, stride, padding, dilation, groups) -> str:
    kernel = to.shapes[weight][2:]
    axes = len(kernel)
    strides, dilations = _each(stride, axes), _each(dilation, axes)
    match padding:
        case "same":  # what is odd is put behind the input
            total = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
            pads = [n // 2 for n in total] + [n - n // 2 for n in total]
        case "valid":
            pads = [0] * 2 * axes
        case _:
            pads = _each(padding, axes) * 2
    return to.add("Conv", x, weight, bias, strides=strides, pads=pads, dilations=dilations, group=groups)


@translates("conv_transpose2d")
def _conv_transpose(
    to: Graph, x: str, weight: str, bias: str | None = None, *, stride, padding, output_padding, groups, dilation
) -> str:
    sizes = {"strides": stride, "pads": padding, "output_padding": output_padding, "dilations": dilation}
    attributes = {key: _each(value, 2) * (2 if key == "pads" else 1) for key, value in sizes.items()}
    return to.add("ConvTranspose", x, weight, bias, group=groups, **attributes)


@translates("max_pool2d")
def _max_pool(to: Graph, x: str, *, kernel_size, stride, padding, dilation, ceil_mode) -> str:
    windows = _windows(to, x, kernel_size, stride, padding, dilation)
    return to.add("MaxPool", x, **windows, dilations=_each(dilation, 2))


@translates("avg_pool2d")
def _avg_pool(
    to: Graph, x: str, *, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
) -> str:
    windows = _windows(to, x, kernel_size, stride, padding, 1)
    if divisor_override is not None or windows["pads"] != _each(padding, 2) * 2:
        raise UserError(
            "avg_pool2d: ONNX knows neither divisor_override nor PyTorch's windows over the end (ceil_mode)"
        )
    return to.add("AveragePool", x, **windows, count_include_pad=int(count_include_pad))


def _windows(to: Graph, x: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> dict[str, list[int]]:
    """Where a pool's windows lie. With ceil_mode the last may reach over the end: it is padded until they all fit."""
    kernel, pads = _each(kernel_size, 2), _each(padding, 2)
    strides = kernel if stride is None else _each(stride, 2)
    sides = zip(to.shapes[x][2:], to.result[2:], kernel, strides, pads, _each(dilation, 2), strict=True)
    ends = [max(pad, (out - 1) * step + d * (k - 1) + 1 - n - pad) for n, out, k, step, pad, d in sides]
    return {"kernel_shape": kernel, "strides": strides, "pads": pads + ends}


@translates("adaptive_avg_pool2d")
def _adaptive_avg_pool(to: Graph, x: str, *, output_size) -> str:
    size = to.shapes[x][2:]
    out = [n if o is None else o for n, o in zip(size, _each(output_size, 2), strict=True)]
    if any(n % o for n, o in zip(size, out, strict=True)):
        raise UserError(f"ONNX averages windows of one size only: {size} pixels cannot be made {tuple(out)}")
    kernel = [n // o for n, o in zip(size, out, strict=True)]
    return to.add("AveragePool", x, kernel_shape=kernel, strides=kernel)


@translates("batch_norm")
def _batch_norm(
    to: Graph,
    x: str,
    running_mean: str | None = None,
    running_var: str | None = None,
    weight: str | None = None,
    bias: str | None = None,
    *,
    training,
    eps,
) -> str:
    if training or running_mean is None:
        raise UserError("a batch norm without running statistics cannot be exported: its output depends on the batch")
    channels = to.shapes[running_mean]
    weight = weight or to.constant(np.ones(channels))
    bias = bias or to.constant(np.zeros(channels))
    return to.add("BatchNormalization", x, weight, bias, running_mean, running_var, epsilon=eps)


@translates("layer_norm")
def _layer_norm(to: Graph, x: str, weight: str | None = None, bias: str | None = None, *, normalized_shape, eps) -> str:
    weight = weight or to.constant(np.ones(normalized_shape))
    return to.add("LayerNormalization", x, weight, bias, axis=-len(to.shapes[weight]), epsilon=eps)


@translates("leaky_relu")
def _leaky_relu(to: Graph, x: str, *, negative_slope) -> str:
    return to.add("LeakyRelu", x, alpha=float(negative_slope))


@translates("elu")
def _elu(to: Graph, x: str, *, alpha) -> str:
    return to.add("Elu", x, alpha=float(alpha))


@translates("gelu")
def _gelu(to: Graph, x: str, *, approximate) -> str:
    return to.add("Gelu", x, approximate=approximate)


@translates("square")
def _square(to: Graph, x: str) -> str:
    return to.add("Mul", x, x)


@translates("clip")
def _clip(to: Graph, x: str, *, min, max) -> str:
    return to.add("Clip", x, *(None if bound is None else to.constant(float(bound)) for bound in (min, max)))


@translates("silu")
def _silu(to: Graph, x: str) -> str:
    return to.add("Mul", x, to.add("Sigmoid", x))


@translates("softplus")
def _softplus(to: Graph, x: str, *, beta, threshold) -> str:
    scaled = to.add("Mul", x, to.constant(float(beta)))
    smooth = to.add("Div", to.add("Softplus", scaled), to.constant(float(beta)))
    return to.add("Where", to.add("Greater", scaled, to.constant(float(threshold))), x, smooth)


@translates("softmax")
def _softmax(to: Graph, x: str, *, dim) -> str:
    return to.add("Softmax", x, axis=dim)


@translates("log_softmax")
def _log_softmax(to: Graph, x: str, *, dim) -> str:
    return to.add("LogSoftmax", x, axis=dim)


@translates("reshape", "squeeze", "unsqueeze")
def _reshape(to: Graph, x: str, **params: Any) -> str:
    if to.result.count(-1) > 1:
        raise UserError(f"a shape in which several sizes depend on the batch cannot be exported: {to.result}")
    return to.add("Reshape", x, to.constant(to.result))


@translates("transpose")
def _transpose(to: Graph, x: str, *, axes) -> str:
    rank = len(to.shapes[x])
    return to.add("Transpose", x, perm=[axis % rank for axis in (range(rank)[::-1] if axes is None else axes)])


@translates("concatenate")
def _concatenate(to: Graph, *xs: str, axis) -> str:
    return to.add("Concat", *xs, axis=axis)


def _reduction(op_type: str) -> Callable[..., str]:
    def reduced(to: Graph, x: str, *, axis, keepdims) -> str:
        axes = None if axis is None else to.constant(np.atleast_1d(axis))
        return to.add(op_type, x, axes, keepdims=int(keepdims))

    return reduced


for _name, _op_type in {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin"}.items():
    TRANSLATIONS[_name] = _reduction(_op_type)


def _each(value: Any, axes: int) -> list[int]:
    """One number for each spatial axis."""
    return list(value) if isinstance(value, (tuple, list)) else [value] * axes
