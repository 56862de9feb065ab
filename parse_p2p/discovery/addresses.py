"""Addresses of agents: ``tcp://host:port`` as it is written, checked and made known to others."""

import ipaddress
import re
from typing import Annotated

from pydantic import StringConstraints

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.transports.base import Address

ANYWHERE = ("0.0.0.0", "::", "*")

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"{_LABEL}(\.{_LABEL})*"
_HOST = rf"{_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\]"
_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"

ENDPOINT = rf"^tcp://({_HOST}):({_PORT})$"
"""Where somebody listens: nothing that stands for any address or any port."""

HOST = rf"^({_NAME}|[0-9A-Fa-f:.]{{2,45}})$"
"""A host's name or address; one of IPv6 without brackets."""

Endpoint = Annotated[str, StringConstraints(pattern=ENDPOINT, max_length=300)]

_ADDRESS = re.compile(rf"tcp://({_HOST}):({_PORT}|\*)")


def agent_address(text: str) -> str:
    """The address of an agent in a run file. Raises ValueError saying what one looks like."""
    found = _ADDRESS.fullmatch(text) if len(text) <= 300 and not text.endswith(":65535") else None
    if found is None or (found[1].startswith("[") and not is_numeric(found[1])):
        raise ValueError("write tcp://host:port, such as tcp://10.0.0.4:7000 or tcp://[fd00::4]:7000")
    return text


def is_numeric(host: str) -> bool:
    """Whether it is an IP address, in brackets or not, and no name."""
    try:
        return bool(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return False


def dialable_host(host: str) -> str:
    """A host that others may dial. Raises ValueError for what stands for any."""
    if host.strip("[]") in ANYWHERE:
        raise ValueError("nobody can dial that: give a name or an address of the host")
    return host


def binding(text: str) -> str:
    """What an agent listens on. Raises ValueError unless it is an IP address."""
    if not is_numeric(text):
        raise ValueError("give an IP address of the host, 0.0.0.0 for all of them, or :: with IPv6")
    return str(ipaddress.ip_address(text.strip("[]")))


def host_of(address: str) -> str:
    """Of ``tcp://host:port``, without brackets: the inverse of ``at``."""
    return address.rpartition(":")[0].removeprefix("tcp://").strip("[]")


def at(host: str, port: str) -> str:
    """``tcp://host:port``, whichever kind of address the host's is."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def reached(me: PeerId, endpoints: Address, host: str | None) -> Address:
    """The addresses under which others reach mine: with this host, where given, in the place of the one that was bound.

    Raises ConfigError where nobody could.
    """
    data, control = (_reached(me, endpoint, host) for endpoint in endpoints)
    return data, control


def _reached(me: PeerId, endpoint: str, host: str | None) -> str:
    if host is not None:
        return at(host, endpoint.rpartition(":")[2])
    if host_of(endpoint) in ANYWHERE:
        raise ConfigError(
            f"agent {me} listens on all addresses of its host, {endpoint}, and others must be told one that they "
            "reach: set discovery.advertise"
        )
    return endpoint
