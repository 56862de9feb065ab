"""``parse-agent keys``: key pairs for encrypted links."""

from pathlib import Path
from typing import Annotated

import typer

from parse_p2p.cli import completion, terminal
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import PeerId


def keys(
    topology: Annotated[
        Path, typer.Option(help="The run file whose agents get keys.", autocompletion=completion.run_files)
    ],
    id: Annotated[list[str] | None, typer.Option(help="Only for this agent; repeatable.")] = None,
) -> None:
    """Make key pairs for encrypted links, in the keyring of a run file.

    Give every host the whole keyring but for the private keys (ID.key) of agents that do not run there.
    """
    from parse_p2p.config import run_file
    from parse_p2p.config.roster import agent_ids
    from parse_p2p.transports import curve

    run = run_file.load(topology)  # one's own: a keyring lies beside its file, and not in the installed package
    ids = agent_ids(run)
    for name in id or []:
        if name not in ids:
            raise ConfigError(f"--id {name}: there is no such agent in the file: {nearest(name, ids)}")
    made = curve.make(Path(run.keyring), [PeerId(name) for name in id or ids])
    outcome = f"made keys for {', '.join(made)}" if made else "all agents have keys already; nothing was changed"
    terminal.console().print(f"{outcome} in {run.keyring}", highlight=False, soft_wrap=True)
