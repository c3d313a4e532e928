"""`chainrule export`: a trained network for other programs."""

from dataclasses import asdict

import rich_click as click

from chainrule.cli import show
from chainrule.cli.options import checkpoint_option, debug_option, examples, json_option


@click.command(
    epilog=examples(
        "chainrule export runs/my-run --onnx my-network.onnx",
        "chainrule export runs/my-run --safetensors my-weights.safetensors --checkpoint last",
    )
)
@click.argument("run")
@click.option("--onnx", metavar="FILE", help="Write the network and its weights as ONNX (needs the onnx extra).")
@click.option("--safetensors", metavar="FILE", help="Write the weights alone, by the names of their parameters.")
@checkpoint_option
@json_option("run_dir, checkpoint, steps and the files")
@debug_option
def export(run: str, onnx: str | None, safetensors: str | None, checkpoint: str | None, as_json: bool) -> None:
    """Write the trained network of RUN, the folder of a run, to files for other programs.

    The ONNX file takes batches of any size, of inputs that are already preprocessed: the preprocessing is not part of
    its graph. The file's metadata says how to do it (preprocess) and what the outputs stand for (classes).
    """
    from chainrule.train.export import export as write

    found = write(run, onnx=onnx, safetensors=safetensors, checkpoint=checkpoint)
    if as_json:
        show.json_line(asdict(found))
        return
    weights = f"the weights of checkpoint {found.checkpoint}, after {found.steps:,} steps"
    for file in (found.onnx, found.safetensors):
        if file:
            show.console().print(f"{file}: {weights}", soft_wrap=True)
