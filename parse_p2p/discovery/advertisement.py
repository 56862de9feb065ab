"""What an agent says of itself where anyone may read it, and the check of what others say.

JSON, since people and other programs read it too. Whoever hands it on may lie: a presence says where to dial and
nothing more; who answers there is proved by the link (``transports/curve.py``).
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from parse_p2p.core.errors import ConfigError, MalformedFrame
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.transports.base import Address

LONGEST = 1 << 16  # bytes of a presence
ANYWHERE = ("0.0.0.0", "::", "*")

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"{_LABEL}(\.{_LABEL})*"
_HOST = rf"{_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\]"
_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
PLACE = rf"^tcp://({_HOST}):({_PORT})$"
"""Where somebody listens: nothing that stands for any address or any port."""

HOST = rf"^({_NAME}|[0-9A-Fa-f:.]{{2,45}})$"
"""A host's name or address; one of IPv6 without brackets."""

Place = Annotated[str, StringConstraints(pattern=PLACE, max_length=300)]


class Profile(BaseModel):
    """What of an agent is known before it listens: its run's digest, its id, and what it begins with.

    That is its modalities, and its slices by name with the digests of their layouts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    run: Name
    id: PeerId
    modalities: tuple[Modality, ...] = Field(max_length=256)
    slices: Mapping[Name, Name] = Field(max_length=4096)

    def at(self, endpoints: Address | None, host: str | None, incarnation: int) -> "Notice":
        """Where I listen, as others reach it: under ``host`` where given. Raises ConfigError where nobody could.

        Without endpoints I dial the others, and they cannot dial me.
        """
        data, control = (None, None) if endpoints is None else reached(self.id, endpoints, host)
        return Notice(**self.model_dump(), incarnation=incarnation, data=data, control=control)


class Notice(Profile):
    """A profile with where it listens, as ``tcp://host:port``; ``gone`` marks one that is there no more."""

    incarnation: int = Field(ge=0, lt=1 << 48)
    data: Place | None
    control: Place | None
    gone: bool = False

    @property
    def address(self) -> Address | None:
        """None for one that nobody can dial."""
        return None if self.data is None or self.control is None else (self.data, self.control)

    @staticmethod
    def read(text: bytes) -> "Notice":
        """Raises MalformedFrame for anything that no agent would have said."""
        if len(text) > LONGEST:
            raise MalformedFrame(f"a presence is over {LONGEST} bytes")
        try:
            return Notice.model_validate_json(text)
        except ValidationError as error:
            raise MalformedFrame(f"a presence is of a wrong form: {error.errors()[0]['type']}") from None


_ENTRANCE = re.compile(rf"tcp://({_HOST}):({_PORT}|\*)")


def entrance(text: str) -> str:
    """The address of an agent in a run file. Raises ValueError saying what one looks like."""
    found = _ENTRANCE.fullmatch(text) if len(text) <= 300 and not text.endswith(":65535") else None
    if found is None or (found[1].startswith("[") and not is_numeric(found[1])):
        raise ValueError("write tcp://host:port, such as tcp://10.0.0.4:7000 or tcp://[fd00::4]:7000")
    return text


def is_numeric(host: str) -> bool:
    """Whether it is an IP address, in brackets or not, and no name."""
    try:
        return bool(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return False


def somewhere(host: str) -> str:
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
