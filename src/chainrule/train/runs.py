"""A run from its config: begun, or gone on with after an interruption."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from chainrule import data as datasets
from chainrule import models
from chainrule.data import Dataset
from chainrule.interop.weights import load_pretrained
from chainrule.models.transfer import freeze
from chainrule.nn import Module
from chainrule.train import checkpoint, folder, parallel
from chainrule.train.checkpoint import Checkpoint
from chainrule.train.config import TrainConfig
from chainrule.train.events import Downloading, Listener, Remark, Result
from chainrule.train.loop import Training, generator


def run(config: TrainConfig, *, run_dir: str | Path | None = None, listeners: Sequence[Listener] = ()) -> Result:
    """Loads the config's data, builds its network and trains it; see `fit`.

    >>> import tempfile
    >>> config = TrainConfig(dataset="moons", hidden=8, max_steps=3)
    >>> run(config, run_dir=tempfile.mkdtemp()).steps
    3
    """
    with parallel.joined() as company:
        heard = listeners if company.first else ()
        data = company.in_turn(lambda: load_data(config, heard))
        return _fit(company, build_model(config, data, heard), data, config, run_dir, listeners)


def fit(
    model: Module,
    data: Dataset,
    config: TrainConfig,
    *,
    run_dir: str | Path | None = None,
    listeners: Sequence[Listener] = (),
) -> Result:
    """Trains `model`, whose output is logits (n, classes), on `data` as the config says, and tests it.

    The test part is measured once, at the end, and chooses nothing: the weights are those of the evaluation with the
    best validation accuracy (of equals, the lowest validation loss) or, where there is no validation part, with the
    lowest training loss. The model has these weights when `fit` returns.

    Begun by `torchrun` in several processes, they share the work (docs/parallel.md): each calls `fit` with the same
    arguments and gets the same result; rank 0 alone writes files and has listeners.

    Args:
        model: trained in place. Of the config's fields about the network, `dtype` alone is looked at: the inputs' own.
        data: as from `chainrule.data.load`; the config's fields about the data are not looked at.
        config: the optimizer, the length of the run, the seed of the batches, and so on.
        run_dir: where everything is written; a new folder under `runs` if left out. It must be new or empty.
        listeners: told each event, in order.

    Raises:
        RankLostError: a UserError; one of several processes ended before the others.
        UserError: the loss is NaN or infinite (the message names the layer and the step), a file cannot be written,
            `run_dir` is not empty.
        UsageError: the config does not fit the data.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is saved and the listeners were told; `resume` goes on.

    >>> import tempfile
    >>> from chainrule.data import load
    >>> from chainrule.nn import Linear
    >>> data = load("moons")
    >>> fit(Linear(2, 2), data, TrainConfig(max_steps=2), run_dir=tempfile.mkdtemp()).chosen_by
    'validation accuracy'
    """
    with parallel.joined() as company:
        return _fit(company, model, data, config, run_dir, listeners)


def _fit(
    company: parallel.Company,
    model: Module,
    data: Dataset,
    config: TrainConfig,
    run_dir: str | Path | None,
    listeners: Sequence[Listener],
) -> Result:
    training = Training(model, data, config, company)
    training.agree()
    with ExitStack() as held:

        def begin() -> Path:
            given = None if run_dir is None else Path(run_dir)
            made = folder.create(config, given, dataset=data.name, processes=company.size)
            held.enter_context(folder.in_use(made))
            return made

        return training.run(company.from_first(begin), listeners)


def resume(
    run_dir: str | Path, *, model: Module | None = None, data: Dataset | None = None, listeners: Sequence[Listener] = ()
) -> Result:
    """Goes on with an interrupted run from its last checkpoint, and ends bit for bit as if it had never stopped.

    Args:
        run_dir: the folder of the run.
        model: the network given to `fit`, if it was not built from the config; its weights are replaced.
        data: likewise the data.
        listeners: told each event from here on.

    With other versions, another BLAS or another number of threads the last bits may differ; a `Remark` then says so.

    Raises as `fit`; `UserError` also if `run_dir` is not the folder of a run or in use by another process, its last
    checkpoint is damaged or belongs to another network, or the config or the data changed. Nothing is changed then.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> first = run(TrainConfig(dataset="moons", hidden=8, max_steps=3), run_dir=folder)
    >>> resume(folder).test_accuracy == first.test_accuracy
    True
    """
    run_dir = Path(run_dir)
    with parallel.joined() as company, ExitStack() as held:

        def begin() -> tuple[TrainConfig, Checkpoint | None]:
            held.enter_context(folder.in_use(run_dir))  # before anything is read: another process may still change it
            return _stored_so_far(run_dir)

        heard = listeners if company.first else ()
        config, saved = company.from_first(begin)
        if data is None:
            data = company.in_turn(lambda: load_data(config, heard))
        if model is None and saved is None:
            model = build_model(config, data, heard)
        elif model is None:  # the checkpoint has the weights: a file of pretrained ones is not needed again
            model = network(config, data.input_shape, data.n_classes)
        training = Training(model, data, config, company)
        if saved is not None:
            training.restore(saved, folder.checkpoint_path(run_dir, "last"))
        training.agree()
        changes = folder.changes_of_environment(run_dir, processes=company.size) if company.first else []
        for remark in changes:
            for listener in heard:
                listener(remark)
        return training.run(run_dir, heard)


def stored(run_dir: Path, kind: str) -> tuple[TrainConfig, Checkpoint]:
    """The config of a run and its checkpoint, best or last.

    Raises `UserError` if one of them is missing or damaged, or the checkpoint was written with another config. The data
    may have moved since: their folder may be another one.

    >>> stored(Path("/no/such/run"), "best")
    Traceback (most recent call last):
    chainrule.errors.UserError: no such run folder: /no/such/run
    """
    config = folder.read_config(run_dir)
    saved = checkpoint.load(folder.checkpoint_path(run_dir, kind))
    folder.check_unchanged(run_dir, config, saved.facts["config"])
    return config, saved


def _stored_so_far(run_dir: Path) -> tuple[TrainConfig, Checkpoint | None]:
    """The config of a run, and its last checkpoint, if it got that far."""
    if folder.checkpoint_path(run_dir, "last").exists() or _got_beyond_the_start(run_dir):
        return stored(run_dir, "last")
    return folder.read_config(run_dir), None


def _got_beyond_the_start(run_dir: Path) -> bool:
    """Whether there was a checkpoint once: metrics.csv holds more than its header and the evaluation before step 1."""
    metrics = run_dir / "metrics.csv"
    return metrics.exists() and metrics.read_bytes().count(b"\n") > 2


def load_data(config: TrainConfig, listeners: Sequence[Listener] = ()) -> Dataset:
    """The config's data set; listeners are told of a download.

    >>> load_data(TrainConfig(dataset="moons")).n_classes
    2
    """

    def progress(file: str, done: int, total: int | None) -> None:
        for listener in listeners:
            listener(Downloading(file, done, total))

    return datasets.load(
        config.dataset,
        data_dir=config.data_dir,
        seed=config.seed,
        val_size=config.val_size,
        preprocess=config.preprocess,
        image_size=config.image_size,
        progress=progress,
    )


def build_model(config: TrainConfig, data: Dataset, listeners: Sequence[Listener] = ()) -> Module:
    """The config's network for this data, with its initial weights; listeners are told what pretrained ones fitted.

    Raises `UserError` if the file of pretrained weights cannot be read or belongs to another network, and as `network`.

    >>> build_model(TrainConfig(hidden=3), datasets.load("moons"))[1].out_features
    3
    """
    model = network(config, data.input_shape, data.n_classes)
    if config.pretrained is not None:
        remark = Remark("pretrained", str(load_pretrained(model, config.pretrained)))
        for listener in listeners:
            listener(remark)
    return model


def network(config: TrainConfig, input_shape: Sequence[int], n_classes: int) -> Module:
    """The config's network for inputs of this shape (without the batch), with its first values, its frozen part frozen.

    Raises `UsageError` if one of the patterns of what is frozen matches nothing, or together they match everything.

    >>> network(TrainConfig(hidden="8,4"), (2,), 3)[5].out_features
    3
    """
    model = models.build(
        config.model,
        input_shape=input_shape,
        n_classes=n_classes,
        hidden=config.hidden,
        activation=config.activation,
        negative_slope=config.negative_slope,
        dropout=config.dropout,
        init=config.init,
        init_std=config.init_std,
        dtype=config.dtype,
        rng=generator(config.seed, "model"),
    )
    freeze(model, config.freeze)
    return model
