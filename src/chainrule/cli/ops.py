"""`chainrule ops`: the operations, and one operation's formulas and code."""

import rich_click as click

from chainrule.cli import show
from chainrule.cli.options import debug_option, examples, json_option, nearest


@click.command(epilog=examples("chainrule ops", "chainrule ops linear", "chainrule ops softmax --json"))
@click.argument("name", required=False)
@json_option("the operations")
@debug_option
def ops(name: str | None, as_json: bool) -> None:
    """List the operations, or show the formulas, the derivation and the code of one of them."""
    from chainrule import OPS
    from chainrule.cli import page
    from chainrule.errors import UsageError

    if name is None:
        if as_json:
            show.json_line({"ops": [page.facts(op) for op in OPS.values()]})
        else:
            show.console().print(page.registry(OPS.values()))
        return
    key = name.replace("-", "_")
    if key not in OPS:
        found = page.called(key, OPS.values()) or [nearest(key, OPS)]
        raise UsageError(f"no such op {name}, the nearest: {', '.join(found)} (all: chainrule ops)")
    if as_json:
        show.json_line(page.details(OPS[key]))
    else:
        out = show.console()
        out.print(page.page(OPS[key], out.width))
