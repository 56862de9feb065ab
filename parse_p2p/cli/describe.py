"""``parse-agent --describe``: what a method needs, and its options."""

import typer
from rich.markup import escape
from rich.table import Table

from parse_p2p.cli import terminal
from parse_p2p.core import plugins
from parse_p2p.core.plugin_options import fields


def describe_method(name: str | None) -> None:
    """Print a method's options, and end."""
    if name is None:
        return
    method = plugins.load(plugins.METHODS, name)
    console = terminal.console()
    console.print(f"[bold]{method.name}[/]: {method.summary}" + (f" ({method.paper})" if method.paper else ""))
    needs = " a coordinator and public data" if method.public else " a coordinator" if method.centralised else " no one"
    console.print(f"needs{needs} beside its agents; network: {', '.join(method.networks)}\n", highlight=False)
    table = Table("option", "default", "what it does", box=None, header_style="bold", pad_edge=False)
    for key, field in fields(method.options).items():
        table.add_row(f"options.{key}", escape(str(field.default)), escape(field.description or ""))
    console.print(table)
    console.print(f"\nparse-agent --topology … --method {name} --set options.NAME=VALUE", highlight=False)
    console.print(
        "its network's own settings stand under model: --set model.latent=32, model.gate=fixed …", highlight=False
    )
    raise typer.Exit
