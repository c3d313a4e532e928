"""ONNX export: onnxruntime computes what the network computes, for any batch; what cannot be exported is named."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from chainrule import Parameter, models, nn, ops
from chainrule import train as training
from chainrule.cli import main
from chainrule.errors import UserError
from chainrule.interop.onnx import to_onnx

RNG = np.random.default_rng(11)
IMAGES = (3, 35, 33)
LARGE = ("convnet-uva-2018", "convnet-uva-2020", "resnet18")
NETWORKS = [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in models.NAMES if n != "mlp"]


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def assert_runs_alike(model, input_shape, batches=(1, 7)):
    """onnxruntime's outputs are the network's in evaluation mode, to 1e-5 of the largest."""
    exported = to_onnx(model, input_shape)
    onnx.checker.check_model(exported, full_check=True)
    runtime = session(exported)
    dtype = next((p.dtype for p in model.parameters()), np.float32)
    model.eval()
    for size in batches:
        x = RNG.standard_normal((size, *input_shape)).astype(np.float32)
        (found,) = runtime.run(None, {"input": x})
        expected = model(x.astype(dtype))
        expected = getattr(expected, "value", expected)
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    return exported


def shaken(model):
    """The network with parameters and running statistics that are neither 0 nor 1 nor small."""
    for array in model.parameters():
        if array.ndim == 1:
            array.value[...] = RNG.uniform(0.5, 1.5, array.shape)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean[...] = RNG.standard_normal(module.running_mean.shape)
            module.running_var[...] = RNG.uniform(0.5, 2.0, module.running_var.shape)
    return model


# ------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_images_runs_alike(name):
    rng = np.random.default_rng(2)
    model = shaken(models.build(name, input_shape=IMAGES, n_classes=5, rng=rng))
    exported = assert_runs_alike(model, IMAGES)
    used = {array.name: tuple(array.dims) for array in exported.graph.initializer}
    state = {key: array.shape for key, array in model.state_dict().items() if "num_batches" not in key}
    assert {key: used.get(key) for key in state} == state
    count = sum(parameter.size for parameter in model.parameters())
    weights = [a for a in exported.graph.initializer if a.name in dict(model.named_parameters())]
    assert sum(onnx.numpy_helper.to_array(array).size for array in weights) == count


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_perceptrons_run_alike(activation):
    model = models.build(
        "mlp", input_shape=(2, 3, 4), n_classes=5, hidden=(8, 6), activation=activation, dropout=0.5, rng=RNG
    )
    assert_runs_alike(model, (2, 3, 4))


@pytest.mark.parametrize(
    ("model", "expected"),
    [(nn.Identity(), ["batch", 3, 4]), (nn.Flatten(0, 1), ["", 4]), (nn.Flatten(), ["batch", 12])],
)
def test_the_shape_of_the_output_says_where_the_batch_is(model, expected):
    [output] = to_onnx(model, (3, 4)).graph.output
    assert [size.dim_param or size.dim_value or "" for size in output.type.tensor_type.shape.dim] == expected


def test_float64_networks_become_float32():
    model = models.build("convnet-vu", input_shape=(1, 20, 17), n_classes=3, dtype="float64", rng=RNG)
    exported = assert_runs_alike(model, (1, 20, 17))
    assert {array.data_type for array in exported.graph.initializer if "weight" in array.name} == {
        onnx.TensorProto.FLOAT
    }


LAYERS = {
    "Linear without bias": (lambda: nn.Linear(4, 3, bias=False, rng=RNG), (4,)),
    "Linear on more axes": (lambda: nn.Linear(4, 3, rng=RNG), (2, 5, 4)),
    "Linear on more axes without bias": (lambda: nn.Linear(4, 3, bias=False, rng=RNG), (5, 4)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), groups=2, rng=RNG), (4, 7, 6)),
    "Conv2d same": (lambda: nn.Conv2d(2, 3, (2, 4), padding="same", dilation=(1, 3), bias=False, rng=RNG), (2, 6, 9)),
    "Conv2d valid": (lambda: nn.Conv2d(2, 3, 3, padding="valid", rng=RNG), (2, 6, 5)),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 3, 2, 1, rng=RNG), (2, 9)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 0), 2, rng=RNG), (4, 4, 5)),
    "MaxPool2d": (lambda: nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2)), (2, 8, 7)),
    "MaxPool2d ceil_mode": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), (2, 8, 6)),
    "MaxPool2d ceil_mode and padding": (lambda: nn.MaxPool2d(2, 2, 1, ceil_mode=True), (2, 7, 6)),
    "MaxPool2d ceil_mode, padding and dilation": (lambda: nn.MaxPool2d(3, 2, 1, 2, ceil_mode=True), (2, 9, 8)),
    "AvgPool2d": (lambda: nn.AvgPool2d((3, 2), padding=(1, 0)), (2, 8, 7)),
    "AvgPool2d without the padding": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 8, 7)),
    "AdaptiveAvgPool2d to 1": (lambda: nn.AdaptiveAvgPool2d(1), (2, 5, 7)),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((2, None)), (2, 6, 7)),
    "BatchNorm2d": (lambda: shaken(nn.BatchNorm2d(3)), (3, 4, 5)),
    "BatchNorm2d without affine": (lambda: shaken(nn.BatchNorm2d(3, 0.1, affine=False)), (3, 4, 5)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3), (3,)),
    "LayerNorm": (lambda: shaken(nn.LayerNorm(6)), (6,)),
    "LayerNorm over two axes": (lambda: nn.LayerNorm((4, 5), 0.1, elementwise_affine=False), (3, 4, 5)),
    "Flatten of some axes": (lambda: nn.Flatten(2, 3), (2, 3, 4, 5)),
    "Flatten with the batch": (lambda: nn.Flatten(0, 1), (2, 3)),
    "Softmax": (lambda: nn.Softmax(1), (3, 4)),
    "LogSoftmax": (lambda: nn.LogSoftmax(-1), (3, 4)),
    "GELU tanh": (lambda: nn.GELU("tanh"), (4,)),
    "Softplus": (lambda: nn.Softplus(3.0, 1.0), (40,)),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.3), (4,)),
    "ELU": (lambda: nn.ELU(0.7), (4,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_run_alike_whatever_their_settings(name):
    make, shape = LAYERS[name]
    assert_runs_alike(make(), shape)


def test_a_module_of_ones_own_runs_alike():
    class Own(nn.Module):
        def __init__(self):
            self.scale = Parameter(np.array([[0.5, 2.0, 3.0]], np.float32))

        def __call__(self, x):
            x = np.transpose(x, (0, 2, 1))
            y = np.exp(-abs(x) * self.scale) + x**2 / (1.5 + np.sqrt(abs(x) + 1)) - np.log(abs(x) + 2)
            z = np.concatenate([np.maximum(x, self.scale), np.minimum(y, 0.3), np.sin(x) * np.cos(y)], axis=-1)
            z = np.square(z) @ np.clip(z, -1, 0.5).swapaxes(1, 2)
            parts = [
                ops.unsqueeze(z.mean((1, 2)), dim=1),
                z.sum(2),
                z.max(1),
                np.squeeze(z.min(-1, keepdims=True), axis=-1),
            ]
            return np.concatenate(parts, axis=1)

    exported = assert_runs_alike(nn.Sequential(Own(), nn.Linear(13, 2, rng=RNG)), (3, 4))
    names = [node.name for node in exported.graph.node]
    assert len(set(names)) == len(names)
    assert names[0] == "0.transpose"
    assert names[-1] == "1.linear"


def test_a_parameter_used_twice_is_stored_once():
    layer = nn.Linear(4, 4, rng=RNG)
    exported = assert_runs_alike(nn.Sequential(layer, nn.Tanh(), layer), (4,))
    assert sorted(array.name for array in exported.graph.initializer) == ["0.bias", "0.weight"]


def test_the_mode_of_the_network_is_kept():
    model = nn.Sequential(nn.Linear(4, 3, rng=RNG), nn.Dropout(0.5))
    model[1].eval()
    to_onnx(model, (4,))
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


# --------------------------------------------------------------------------------------------- what cannot be exported


class Undone(nn.Module):
    def __call__(self, x):
        return np.cumsum(x, axis=1)


def test_an_op_without_translation_is_named_with_its_layer():
    model = nn.Sequential(nn.Linear(4, 3, rng=RNG), nn.Sequential({"tail": Undone()}))
    with pytest.raises(UserError, match=r"^1\.tail: the op cumsum has no translation to ONNX; those .* linear"):
        to_onnx(model, (4,))


def test_a_number_that_depends_on_the_batch_is_refused():
    class Mean(nn.Module):
        def __call__(self, x):
            return x - ops.sum(x, axis=0) / len(x)

    with pytest.raises(UserError, match="Mean: the op div has constants that depend on the number of examples"):
        to_onnx(Mean(), (4,))


def test_a_loop_over_the_examples_is_refused():
    class Loop(nn.Module):
        def __call__(self, x):
            return np.stack([row * 2 for row in x])

    with pytest.raises(UserError, match="Loop runs as many ops as there are examples"):
        to_onnx(Loop(), (4,))


def test_a_shape_that_has_the_batch_twice_is_refused():
    class Gram(nn.Module):
        def __call__(self, x):
            return ops.unsqueeze(x @ x.T, dim=2)

    with pytest.raises(UserError, match=r"several sizes depend on the batch cannot be exported: \(-1, -1, 1\)"):
        to_onnx(Gram(), (4,))


def test_batch_statistics_are_refused():
    with pytest.raises(UserError, match="its output depends on the batch"):
        to_onnx(nn.BatchNorm2d(3, track_running_stats=False), (3, 4, 4))


@pytest.mark.parametrize("settings", [{"divisor_override": 3}, {"ceil_mode": True}], ids=str)
def test_averages_that_onnx_does_not_know_are_refused(settings):
    with pytest.raises(UserError, match="ONNX knows neither divisor_override nor"):
        to_onnx(nn.AvgPool2d(2, **settings), (1, 5, 6))


def test_uneven_averages_are_refused():
    with pytest.raises(UserError, match=r"\(5, 6\) pixels cannot be made \(2, 3\)"):
        to_onnx(nn.AdaptiveAvgPool2d((2, 3)), (1, 5, 6))


def test_several_outputs_are_refused():
    class Pair(nn.Module):
        def __call__(self, x):
            return x + 1, x

    with pytest.raises(UserError, match="Pair does not return one array made from its input"):
        to_onnx(Pair(), (4,))


# --------------------------------------------------------------------------------------------------- file and command


def test_the_file_is_the_model_with_its_metadata(tmp_path):
    path = tmp_path / "net.onnx"
    exported = to_onnx(nn.Linear(4, 3, rng=RNG), (4,), path, metadata={"classes": '["a", "b", "c"]'})
    assert onnx.load(path) == exported
    assert session(path.read_bytes()).get_modelmeta().custom_metadata_map == {"classes": '["a", "b", "c"]'}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        to_onnx(nn.Linear(4, 3, rng=RNG), (4,), tmp_path / "missing/net.onnx")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    config = training.TrainConfig(dataset="digits", preprocess="standard", hidden=16, epochs=2)
    training.run(config, run_dir=folder)
    return folder


@pytest.fixture
def call(capsys):
    """Runs the command: (exit code, standard output, standard error)."""

    def run(*args):
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


def test_the_exported_file_alone_predicts_what_the_run_predicts(run_dir, call, tmp_path):
    path = tmp_path / "digits.onnx"
    code, out, _ = call("export", run_dir, "--onnx", path)
    assert code == 0
    assert out.startswith(f"{path}: ")
    runtime = session(path.read_bytes())
    metadata = runtime.get_modelmeta().custom_metadata_map
    classes, preprocess = json.loads(metadata["classes"]), json.loads(metadata["preprocess"])
    assert preprocess["name"] == "standard"
    from chainrule import data

    raw = data.load("digits", preprocess="none").test.x[:7]
    mean, std = (np.array(preprocess[key], np.float32) for key in ("mean", "std"))
    (logits,) = runtime.run(None, {"input": (raw.astype(np.float32) - mean) / std})
    expected = [prediction.label for prediction in training.predict(run_dir, raw)]
    assert [classes[k] for k in logits.argmax(1)] == expected


def test_export_json_names_the_files(run_dir, call, tmp_path):
    files = {"onnx": str(tmp_path / "d.onnx"), "safetensors": str(tmp_path / "d.safetensors")}
    options = [part for key, file in files.items() for part in (f"--{key}", file)]
    code, out, _ = call("export", run_dir, *options, "--checkpoint", "last", "--json")
    assert code == 0
    assert json.loads(out) == {"run_dir": str(run_dir), "checkpoint": "last", "steps": 82, **files}
    from safetensors.numpy import load_file

    expected = training.load_run(run_dir, checkpoint="last").model.state_dict()
    found = load_file(files["safetensors"])
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "nothing to write: give --onnx FILE, --safetensors FILE, or both"),
        (["--onnx", "missing/net.onnx"], 1, "cannot write missing/net.onnx"),
        (["--safetensors", "net.bin"], 2, "net.safetensors"),
    ],
)
def test_misuse_of_export_is_one_line(run_dir, call, arguments, code, message):
    found, out, err = call("export", run_dir, *arguments)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    assert message in err


def test_export_of_no_run_is_one_line(call, tmp_path):
    code, _, err = call("export", tmp_path / "nothing", "--onnx", tmp_path / "net.onnx")
    assert code == 1
    assert err.startswith("error: ")


def test_export_has_help_and_loads_no_runtime_for_it():
    script = "import sys, chainrule.cli as c\ntry: c.main(['export', '-h'])\nfinally: print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--onnx" in done.stdout
    assert "Examples" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
