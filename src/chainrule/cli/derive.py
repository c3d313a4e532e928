"""`chainrule derive`: the gradients of an op or of some lines, derived, verified, and written in many forms."""

import sys

import rich_click as click

from chainrule.cli import show
from chainrule.cli.options import debug_option, examples, json_option

FORMATS = ("text", "latex", "html", "markdown", "numpy", "module", "torch")
WIDTH = 100


@click.command(
    epilog=examples(
        "chainrule derive softmax --steps",
        'chainrule derive "y = x @ w + b" --shapes "x: n d, w: d m, b: m"',
        "chainrule derive layer_norm --format torch",
        'chainrule derive softmax --answer "gx = y * (gy - (gy * y).sum(-1, keepdims=True))"',
    )
)
@click.argument("what", metavar="OP|LINES")
@click.option(
    "--shapes",
    metavar="SHAPES",
    help="Sizes of the inputs of LINES, as in 'x: n d, w: d m'; after them 'const' marks an input that wants no "
    "gradient, 'one-hot' a target whose rows sum to 1.",
)
@click.option("--steps", is_flag=True, help="Show every line of the derivation, in index notation, with its reason.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    help="How to write it; numpy, module and torch are code: a pair of functions, a class with forward and backward, a "
    "torch.autograd.Function (default: text).",
)
@click.option(
    "--answer",
    metavar="FORMULA",
    help="Judge your own formula for a gradient, as in 'gw = x.T @ gy': Python, Unicode or LaTeX, matrices or indices; "
    "several with semicolons between.",
)
@click.option(
    "--answer-file",
    metavar="FILE",
    help="Judge a whole derivation, one equation a line, and name the first wrong one; '-' reads standard input.",
)
@json_option("the gradients in every notation, their steps and the proof")
@debug_option
@click.pass_context
def derive(
    context: click.Context,
    what: str,
    shapes: str | None,
    steps: bool,
    form: str,
    answer: str | None,
    answer_file: str | None,
    as_json: bool,
) -> None:
    """Derive the gradients of an op, or of lines of Python with NumPy's names.

    LINES are separated by semicolons or line breaks; '-' reads them from standard input. Every result is compared with
    the op's rule or the engine, and with numeric truth, at random points; one that does not agree is an error.
    With --answer or --answer-file, the exit code is 0 right, 1 wrong, 2 unreadable.
    """
    text = sys.stdin.read() if what == "-" else what
    if answer is not None or answer_file is not None:
        from chainrule.cli.answers import judge_answer

        context.exit(judge_answer(text, shapes, answer, answer_file, as_json=as_json))
    from chainrule.derive import derive as derived

    found = derived(text, shapes)
    if as_json:
        show.json_line(found.json())
        return
    match form:
        case "text":
            console = show.console()
            written = found.text(steps=steps, width=min(console.width, WIDTH) if console.is_terminal else WIDTH)
        case "latex":
            written = found.latex(steps=steps)
        case "html":
            written = found.html(steps=steps)
        case "markdown":
            written = found.markdown(steps=steps)
        case "numpy":
            written = found.numpy_code()
        case "module":
            written = found.module_code()
        case _:
            written = found.torch_code()
    click.echo(written.rstrip("\n"))
