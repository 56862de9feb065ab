"""What an agent says of itself where anyone may read it, and the check of what others say.

JSON, since people and other programs read it too. Whoever hands it on may lie: a presence says where to dial and
nothing more; who answers there is proved by the link (``transports/curve.py``).
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.discovery.addresses import Endpoint, reached
from parse_p2p.transports.base import Address

LONGEST = 1 << 16  # bytes of a presence

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Profile(BaseModel):
    """What of an agent is known before it listens: its run's digest, its id, and what it begins with.

    That is its modalities, and its slices by name with the digests of their layouts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    run: Name
    id: PeerId
    modalities: tuple[Modality, ...] = Field(max_length=256)
    slices: Mapping[Name, Name] = Field(max_length=4096)

    def at(self, endpoints: Address | None, host: str | None, incarnation: int) -> "Advertisement":
        """Where I listen, as others reach it: under ``host`` where given. Raises ConfigError where nobody could.

        Without endpoints I dial the others, and they cannot dial me.
        """
        data, control = (None, None) if endpoints is None else reached(self.id, endpoints, host)
        return Advertisement(**self.model_dump(), incarnation=incarnation, data=data, control=control)


class Advertisement(Profile):
    """A profile with where it listens, as ``tcp://host:port``; ``gone`` marks one that is there no more."""

    incarnation: int = Field(ge=0, lt=1 << 48)
    data: Endpoint | None
    control: Endpoint | None
    gone: bool = False

    @property
    def address(self) -> Address | None:
        """None for one that nobody can dial."""
        return None if self.data is None or self.control is None else (self.data, self.control)

    @staticmethod
    def read(text: bytes) -> "Advertisement":
        """Raises MalformedFrame for anything that no agent would have said."""
        if len(text) > LONGEST:
            raise MalformedFrame(f"a presence is over {LONGEST} bytes")
        try:
            return Advertisement.model_validate_json(text)
        except ValidationError as error:
            raise MalformedFrame(f"a presence is of a wrong form: {error.errors()[0]['type']}") from None
