"""Where the agents of a run listen, and whether their links are encrypted."""

import hashlib
import ipaddress
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from parse_p2p.config import RunFile
from parse_p2p.discovery.base import MqttOptions
from parse_p2p.discovery.notice import at
from parse_p2p.errors import ConfigError
from parse_p2p.names import PeerId
from parse_p2p.transports import curve
from parse_p2p.transports.base import Address
from parse_p2p.transports.curve import Guard


class Places:
    """``own`` are the addresses that the run file gives its agents, in their order; None leaves it to us."""

    def __init__(self, run: RunFile, own: Mapping[PeerId, str | None]) -> None:
        self._run = run
        self._own = own

    def addresses(self, me: PeerId, neighbours: Collection[PeerId], folder: Path) -> dict[PeerId, Address | None]:
        """Where I listen, and where my neighbours do; None where that is found out while the agents run."""
        found = isinstance(self._run.discovery, MqttOptions)
        others = {peer: None if found else self.address(peer, folder) for peer in sorted(neighbours)}
        return {me: self.address(me, folder), **others}

    def address(self, peer: PeerId, folder: Path) -> Address:
        """Where an agent listens: for data and for control; a port ``*`` is any that is free."""
        entry = self._own[peer]
        if entry is None and self._run.base_port is not None:
            entry = f"tcp://127.0.0.1:{self._run.base_port + 2 * list(self._own).index(peer)}"
        if entry is not None:
            host, _, port = entry.rpartition(":")
            return entry, f"{host}:{int(port) + 1}"
        if isinstance(self._run.discovery, MqttOptions):
            bound = at(self._run.discovery.bind, "*")
            return bound, bound
        sockets = socket_folder(folder, self._run.digest())
        return f"ipc://{sockets}/{peer}.data", f"ipc://{sockets}/{peer}.control"

    @property
    def encrypted(self) -> bool:
        """Whether links are: as the file says, or where an address can be reached from elsewhere."""
        if self._run.security != "auto":
            return self._run.security == "curve"
        hosts = [address.rpartition(":")[0] for address in self._own.values() if address is not None]
        if isinstance(self._run.discovery, MqttOptions):
            hosts += filter(None, [self._run.discovery.bind, self._run.discovery.advertise])
        return not all(map(_loopback, hosts))

    def guard(self, me: PeerId, neighbours: Collection[PeerId]) -> Guard | None:
        """My keys and those of my neighbours, where the run's links are encrypted. Raises ConfigError."""
        if not self.encrypted:
            return None
        try:
            return curve.read(Path(self._run.keyring), me, neighbours)
        except ConfigError as error:
            if self._run.security == "curve":
                raise
            raise ConfigError(f"{error}; or, on a network that you trust, set security: none") from None


def _loopback(host: str) -> bool:
    host = host.removeprefix("tcp://").strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def socket_folder(folder: Path, digest: str) -> Path:
    """A private folder for the sockets of one run on this host; short, since a socket's path must be."""
    name = hashlib.blake2b(f"{folder.resolve()}{digest}".encode(), digest_size=6).hexdigest()
    path = Path(tempfile.gettempdir()) / f"p2p-{os.getuid()}-{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o077:
        raise ConfigError(f"the folder {path} for sockets is open to others: delete it, or set TMPDIR")
    return path
