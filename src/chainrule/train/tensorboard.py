"""The metrics for TensorBoard, on request."""

from pathlib import Path

from chainrule.errors import UserError
from chainrule.train.events import Evaluated, Event, StepDone


def require_tensorboardx() -> None:
    """Raises `UserError` if tensorboardX, an optional dependency, is not installed."""
    try:
        import tensorboardX  # type: ignore[import-untyped] # noqa: F401
    except ImportError:
        raise UserError("TensorBoard files need tensorboardX: pip install 'chainrule[tensorboard]'") from None


class TensorBoard:
    """A listener that writes `run_dir/tensorboard`; what is there from `first_step` on is hidden."""

    def __init__(self, run_dir: Path, *, first_step: int) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=first_step)

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def __call__(self, event: Event) -> None:
        """Adds the scalars of a step or an evaluation; other events have none."""
        if isinstance(event, StepDone):
            self._writer.add_scalar("batch/loss", event.loss, event.step)
            self._writer.add_scalar("batch/lr", event.lr, event.step)
        elif isinstance(event, Evaluated):
            for part, measure in (("train", event.train), ("validation", event.validation)):
                if measure is not None:
                    self._writer.add_scalar(f"loss/{part}", measure.loss, event.step)
                    self._writer.add_scalar(f"accuracy/{part}", measure.accuracy, event.step)
