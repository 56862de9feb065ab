"""Where the agents of a run listen, and whether their links are encrypted."""

import hashlib
import ipaddress
import os
import socket
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.sections import AgentEntry
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.addresses import ANYWHERE, at, host_of, is_numeric
from parse_p2p.discovery.base import FoundOptions
from parse_p2p.transports import curve
from parse_p2p.transports.base import Address
from parse_p2p.transports.curve import CurveKeys


class Endpoints:
    """``entries`` are the agents of the run file in their order; where one has no address it is left to us.

    An agent's address is what others dial; it listens there, or on the IP address that ``bind`` says, at the same port.
    ``contacts`` is where the agents listen from whom the others find each other. Raises ConfigError for one that nobody
    could reach.
    """

    def __init__(self, run: RunFile, entries: Mapping[PeerId, AgentEntry]) -> None:
        self._run = run
        self._entries = entries
        self._found = run.discovery if isinstance(run.discovery, FoundOptions) else None
        if self._found is None:
            for me, entry in entries.items():
                _refuse_unknown(me, entry)
        elif run.base_port is not None and not _loopback(self._found.bind):
            raise ConfigError(
                f"base_port is for agents of one host, and discovery.bind is {self._found.bind}: leave one of them out"
            )
        known = run.discovery.known_addresses()
        self.contacts = {PeerId(peer): self._contact(PeerId(peer), address) for peer, address in known.items()}

    def _contact(self, peer: PeerId, address: str) -> Address:
        if peer not in self._entries:
            near = nearest(peer, self._entries)
            raise ConfigError(f"discovery.contacts: there is no agent {peer!r} in this run: {near}")
        entry = None if self._entries[peer].dial_only else address or self._fixed(peer)
        if entry is None or host_of(entry) in ANYWHERE or entry.endswith(":*"):
            raise ConfigError(
                f"discovery.contacts: the file does not say where {peer} can be reached: give it an address, or name "
                f"it as {{{peer}: tcp://host:port}}"
            )
        return _pair(entry)

    def addresses(self, me: PeerId, neighbours: Collection[PeerId], folder: Path) -> dict[PeerId, Address | None]:
        """Where I listen, and where my neighbours do.

        None where that is found out while the agents run, and for those whom nobody dials.
        """
        others = {peer: None if self._found else self.address(peer, folder) for peer in sorted(neighbours)}
        return {me: self.listens(me, folder), **others}

    def address(self, peer: PeerId, folder: Path) -> Address | None:
        """Where others dial an agent that needs no finding: for data and for control."""
        if self._entries[peer].dial_only:
            return None
        if (entry := self._fixed(peer)) is not None:
            return _pair(entry)
        sockets = socket_folder(folder, self._run.digest())
        return f"ipc://{sockets}/{peer}.data", f"ipc://{sockets}/{peer}.control"

    def listens(self, me: PeerId, folder: Path) -> Address | None:
        """Where an agent listens on its host; a port ``*`` is any that is free. Raises ConfigError."""
        own = self._entries[me]
        if own.dial_only:
            return None
        if own.address is not None:
            return _pair(self._bound(me, own.address, own.bind or self._run.bind))
        if self._found is None or self._fixed(me) is not None:
            return self.address(me, folder)
        port = self.contacts[me][0].rpartition(":")[2] if me in self.contacts else "*"
        return _pair(at(own.bind or self._run.bind or self._found.bind, port))

    def _bound(self, me: PeerId, address: str, bind: str | None) -> str:
        host, port = host_of(address), address.rpartition(":")[2]
        if bind is None and host not in ANYWHERE and not is_numeric(host):
            bind = _resolved(host)
            if bind is None:
                raise ConfigError(
                    f"agent {me} cannot listen on {address}: the name {host} is not known on this host: give the agent "
                    "bind: 0.0.0.0"
                )
        return at(bind or host, port)

    def advertised(self, me: PeerId) -> str | None:
        """The host under which an agent says that it can be reached, where the file says."""
        own = self._entries[me].address
        host = None if own is None or host_of(own) in ANYWHERE else host_of(own)
        return (self._found.advertise if self._found else None) or host

    def _fixed(self, peer: PeerId) -> str | None:
        own = self._entries[peer]
        if own.address is None and not own.dial_only and self._run.base_port is not None:
            return f"tcp://127.0.0.1:{self._run.base_port + 2 * list(self._entries).index(peer)}"
        return own.address

    @property
    def encrypted(self) -> bool:
        """Whether links are: as the file says, or where an address can be reached from elsewhere."""
        if self._run.security != "auto":
            return self._run.security == "curve"
        addresses = [entry.address for entry in self._entries.values() if entry.address is not None]
        hosts = [host_of(address) for address in (*addresses, *(data for data, _ in self.contacts.values()))]
        all_of_them = self._run.bind if self._found is not None or addresses else None
        hosts += filter(None, [all_of_them, *(entry.bind for entry in self._entries.values())])
        if self._found is not None:
            hosts += filter(None, [self._found.bind, self._found.advertise])
        return not all(map(_loopback, hosts))

    def curve_keys(self, me: PeerId, neighbours: Collection[PeerId]) -> CurveKeys | None:
        """My keys and those of my neighbours, or of all who gossip, where links are encrypted. Raises ConfigError."""
        if not self.encrypted:
            return None
        others = [peer for peer in self._entries if peer != me] if self.contacts else neighbours
        try:
            return curve.read(Path(self._run.keyring), me, others)
        except ConfigError as error:
            if self._run.security == "curve":
                raise
            raise ConfigError(f"{error}; or, on a network that you trust, set security: none") from None


def _pair(entry: str) -> Address:
    """Data at this port, control at the next; both at any."""
    host, _, port = entry.rpartition(":")
    return entry, entry if port == "*" else f"{host}:{int(port) + 1}"


def _refuse_unknown(me: PeerId, entry: AgentEntry) -> None:
    """Raise ConfigError for what others would have to find out, where nobody finds anything."""
    if entry.bind is not None and entry.address is None:
        raise ConfigError(f"agents: {me} binds {entry.bind} and has no address, where others dial it: give it one")
    if entry.address is None:
        return
    if entry.address.endswith(":*"):
        raise ConfigError(
            f"agents: {me}: nobody would know the port that is chosen for {entry.address}: give one, or set discovery"
        )
    if host_of(entry.address) in ANYWHERE:
        raise ConfigError(
            f"agents: {me}: nobody can dial {entry.address}: give a name or an address of its host, and bind: "
            f"{host_of(entry.address)} beside it"
        )


def _resolved(name: str) -> str | None:
    """The IP address that others who dial this name come to: of IPv6 where it has one, as ZeroMQ takes it."""
    for family in (socket.AF_INET6, socket.AF_INET):
        try:
            return str(socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)[0][4][0])
        except (OSError, UnicodeError):
            continue
    return None


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
