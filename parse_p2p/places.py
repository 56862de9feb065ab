"""Where the agents of a run listen, and whether their links are encrypted."""

import hashlib
import ipaddress
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from parse_p2p.config import RunFile
from parse_p2p.discovery.base import FoundOptions, GossipOptions
from parse_p2p.discovery.notice import at
from parse_p2p.errors import ConfigError, nearest
from parse_p2p.names import PeerId
from parse_p2p.transports import curve
from parse_p2p.transports.base import Address
from parse_p2p.transports.curve import Guard

ANYWHERE = ("0.0.0.0", "::", "*")


class Places:
    """``own`` are the addresses that the run file gives its agents, in their order; None leaves it to us.

    ``contacts`` is where the agents listen from whom the others find each other. Raises ConfigError for one that nobody
    could reach.
    """

    def __init__(self, run: RunFile, own: Mapping[PeerId, str | None]) -> None:
        self._run = run
        self._own = own
        named = run.discovery.contacts if isinstance(run.discovery, GossipOptions) else {}
        self.contacts = {PeerId(peer): self._contact(PeerId(peer), address) for peer, address in named.items()}

    def _contact(self, peer: PeerId, address: str) -> Address:
        if peer not in self._own:
            raise ConfigError(f"discovery.contacts: there is no agent {peer!r} in this run: {nearest(peer, self._own)}")
        entry = address or self._fixed(peer)
        if entry is None or _host(entry) in ANYWHERE:
            raise ConfigError(
                f"discovery.contacts: the file does not say where {peer} can be reached: give it an address, or name "
                f"it as {{{peer}: tcp://host:port}}"
            )
        return _pair(entry)

    def addresses(self, me: PeerId, neighbours: Collection[PeerId], folder: Path) -> dict[PeerId, Address | None]:
        """Where I listen, and where my neighbours do; None where that is found out while the agents run."""
        found = isinstance(self._run.discovery, FoundOptions)
        others = {peer: None if found else self.address(peer, folder) for peer in sorted(neighbours)}
        return {me: self.address(me, folder), **others}

    def address(self, peer: PeerId, folder: Path) -> Address:
        """Where an agent listens: for data and for control; a port ``*`` is any that is free."""
        entry = self._fixed(peer)
        if entry is not None:
            return _pair(entry)
        if isinstance(self._run.discovery, FoundOptions):
            if peer in self.contacts:
                return _pair(at(self._run.discovery.bind, self.contacts[peer][0].rpartition(":")[2]))
            bound = at(self._run.discovery.bind, "*")
            return bound, bound
        sockets = socket_folder(folder, self._run.digest())
        return f"ipc://{sockets}/{peer}.data", f"ipc://{sockets}/{peer}.control"

    def _fixed(self, peer: PeerId) -> str | None:
        if self._own[peer] is None and self._run.base_port is not None:
            return f"tcp://127.0.0.1:{self._run.base_port + 2 * list(self._own).index(peer)}"
        return self._own[peer]

    @property
    def encrypted(self) -> bool:
        """Whether links are: as the file says, or where an address can be reached from elsewhere."""
        if self._run.security != "auto":
            return self._run.security == "curve"
        hosts = [_host(address) for address in self._own.values() if address is not None]
        hosts += [_host(address) for address, _ in self.contacts.values()]
        if isinstance(self._run.discovery, FoundOptions):
            hosts += filter(None, [self._run.discovery.bind, self._run.discovery.advertise])
        return not all(map(_loopback, hosts))

    def guard(self, me: PeerId, neighbours: Collection[PeerId]) -> Guard | None:
        """My keys and those of my neighbours, or of all who gossip, where links are encrypted. Raises ConfigError."""
        if not self.encrypted:
            return None
        others = [peer for peer in self._own if peer != me] if self.contacts else neighbours
        try:
            return curve.read(Path(self._run.keyring), me, others)
        except ConfigError as error:
            if self._run.security == "curve":
                raise
            raise ConfigError(f"{error}; or, on a network that you trust, set security: none") from None


def _pair(entry: str) -> Address:
    """Data at this port, control at the next."""
    host, _, port = entry.rpartition(":")
    return entry, f"{host}:{int(port) + 1}"


def _host(address: str) -> str:
    return address.rpartition(":")[0].removeprefix("tcp://").strip("[]")


def _loopback(host: str) -> bool:
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
