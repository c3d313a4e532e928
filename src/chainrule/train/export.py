"""What a run has trained, as files for other programs."""

import json
from dataclasses import dataclass
from pathlib import Path

from chainrule.errors import UsageError
from chainrule.interop.onnx import to_onnx
from chainrule.interop.weights import require_safetensors, save_weights
from chainrule.train.trained import TrainedRun, load_run


@dataclass(frozen=True, slots=True)
class Exported:
    """The files that were written; None is one that nobody asked for."""

    run_dir: str
    checkpoint: str
    steps: int  #: the step after which the weights were taken
    onnx: str | None
    safetensors: str | None


def export(
    run_dir: str | Path,
    *,
    onnx: str | Path | None = None,
    safetensors: str | Path | None = None,
    checkpoint: str | None = None,
) -> Exported:
    """Writes the trained network of a run to the files given.

    Args:
        run_dir: the folder of the run.
        onnx: file for the network and its weights. It also says, as texts of JSON in its `metadata_props`, what the
            outputs stand for (`classes`) and how inputs must be prepared before the network reads them (`preprocess`,
            with the mean and the standard deviation where there are some): the graph itself begins after that.
        safetensors: file for the weights alone; its name ends in `.safetensors`.
        checkpoint: as in `load_run`.

    Raises:
        UsageError: no file is given; a package that is needed is not installed.
        UserError: as `load_run`; the network has an op without a translation; a file cannot be written.

    >>> import tempfile
    >>> from chainrule.train import TrainConfig, run
    >>> folder = Path(tempfile.mkdtemp())
    >>> result = run(TrainConfig(dataset="moons", hidden=8, max_steps=3), run_dir=folder)
    >>> export(folder, safetensors=folder / "moons.safetensors").steps
    3
    """
    if onnx is None and safetensors is None:
        raise UsageError("nothing to write: give --onnx FILE, --safetensors FILE, or both")
    if safetensors is not None:
        require_safetensors(Path(safetensors))
    trained = load_run(run_dir, checkpoint=checkpoint)
    if onnx is not None:
        to_onnx(trained.model, trained.input_shape, onnx, metadata=_metadata(trained))
    if safetensors is not None:
        save_weights(trained.model, safetensors)
    files = (None if path is None else str(path) for path in (onnx, safetensors))
    return Exported(str(trained.run_dir), trained.checkpoint, trained.step, *files)


def _metadata(trained: TrainedRun) -> dict[str, str]:
    arrays = {name: array.tolist() for name, array in trained.preprocess.arrays().items()}
    return {
        "classes": json.dumps(trained.classes),
        "preprocess": json.dumps({**trained.preprocess.to_dict(), **arrays}),
    }
