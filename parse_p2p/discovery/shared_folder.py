"""Neighbours found by files in a folder that all agents see, such as one on NFS: ``ID.json`` says where ID listens.

A file is an advertisement (``advertisement.py``), written under another name and then moved, so that it is whole or
not there. One that an agent left behind when it died does no harm: its neighbours dial an address where nobody of that
name answers, until the agent is back and has written its new one. Who can write the folder can hide agents or name
wrong addresses; with keys it can impersonate none.
"""

import asyncio
import contextlib
import ipaddress
import os
import socket
from pathlib import Path

from pydantic import Field

from parse_p2p.core import events
from parse_p2p.core.errors import ConfigError, MalformedFrame, WireError, WrongRun
from parse_p2p.core.peer_info import Card
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.addresses import ANYWHERE, host_of
from parse_p2p.discovery.advertisement import LONGEST, Advertisement
from parse_p2p.discovery.base import FoundOptions, Send, Site, WithoutGossip

FIRST = 0.1  # seconds between the first two looks
SLOWER = 1.5  # times as long between any two after that, up to a heartbeat
COMPLAINTS = 10  # lines in the log about files that are of no use
ROUTED = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses that stand for all other hosts (RFC 5737, RFC 3849)."""


class SharedFolderDiscovery(WithoutGossip):
    """Writes where one agent listens, and tells its transport where its neighbours do, whenever one has moved.

    Without a ``site.host`` others reach me at what I bound, or at the address from which this host reaches others.
    """

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._profile = site.profile()
        self._folder = folder
        self._own = self._path(site.me)
        self._seen: dict[PeerId, bytes] = {}
        self._refusals = 0
        self._mine = b""  # until I am announced
        self._looking: asyncio.Task[None] | None = None
        self._left = False

    async def __aexit__(self, *error: object) -> None:
        if self._looking is not None:
            self._left = True
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            await asyncio.to_thread(self._withdraw)

    async def announce(self, card: Card, send: Send) -> None:
        """Raises ConfigError if nobody could dial me, or the folder cannot be written."""
        endpoints = self._site.transport.endpoints
        host = self._site.host or (towards_others(endpoints[0]) if endpoints else None)  # one that only dials has none
        advertisement = self._profile.at(endpoints, host, card.incarnation)
        self._mine = advertisement.model_dump_json().encode()
        try:
            await asyncio.to_thread(self._post)
        except OSError as error:
            raise ConfigError(
                f"{self._profile.id} cannot write where it listens into {self._folder}: "
                f"{(error.strerror or str(error)).lower()}; name a folder that all hosts share as discovery.folder"
            ) from None
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        pause = FIRST
        while True:
            for peer, text in (await asyncio.to_thread(self._read)).items():  # a folder on a network may hang
                if text != self._seen.get(peer):
                    self._seen[peer] = text
                    self._take(peer, text)
            await asyncio.sleep(pause)
            pause = min(SLOWER * pause, self._site.clocks.heartbeat)

    def _take(self, peer: PeerId, text: bytes) -> None:
        try:
            advertisement = Advertisement.read(text)
            if advertisement.id != peer:
                raise MalformedFrame(f"the file of {peer} speaks of another")
            if advertisement.run != self._profile.run:
                raise WrongRun(f"the file of {peer} is of another run")
            if advertisement.address is not None:  # otherwise it dials me
                self._site.transport.connect(peer, advertisement.address)
        except WireError as error:
            self._refusals += 1
            if self._refusals <= COMPLAINTS:
                self._site.log.write(events.Refused(peer=peer, kind="address", why=f"{self._path(peer)}: {error}"))

    # files, on a thread of their own

    def _path(self, peer: str) -> Path:
        return self._folder / f"{peer}.json"

    def _post(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".{self._profile.id}.partial"
        partial.write_bytes(self._mine)
        partial.replace(self._own)

    def _read(self) -> dict[PeerId, bytes]:
        """What is there of my neighbours; as long as one is missing I write mine anew, unless a later life of mine did.

        A host that has changed a folder asks a file server what else is new in it; one that has not may go by what it
        remembers for a minute.
        """
        found = {
            peer: text for peer in sorted(self._site.neighbours) if (text := _contents(self._path(peer))) is not None
        }
        if len(found) < len(self._site.neighbours) and _contents(self._own) in (None, self._mine) and not self._left:
            with contextlib.suppress(OSError):
                self._post()
        return found

    def _withdraw(self) -> None:
        """Take my file away, unless a later life of mine wrote it."""
        with contextlib.suppress(OSError):
            if _contents(self._own) == self._mine:
                self._own.unlink()


def _contents(path: Path) -> bytes | None:
    """Up to a little more than the longest notice; None where nothing can be read. A pipe is empty and never waits."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return file.read(LONGEST + 1)
    except OSError:
        return None


def towards_others(endpoint: str) -> str | None:
    """This host's address on its way to others, for one that listens everywhere; nothing is sent to find it out.

    Where there is no way to others it is what this host's name stands for, unless that is loopback. None then, and for
    one that listens at some address.
    """
    bound = host_of(endpoint)
    if bound not in ANYWHERE:
        return None
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((ROUTED[family], 9))
        return str(probe.getsockname()[0])
    with contextlib.suppress(OSError):  # no way out, as on a cluster's inner nodes: what the others call this host
        own = str(socket.getaddrinfo(socket.gethostname(), None, family)[0][4][0])
        return None if ipaddress.ip_address(own).is_loopback else own
    return None


class SharedFolderOptions(FoundOptions):
    """Agents find each other by small files in a folder that all of them see."""

    folder: str | None = Field(None, description="beside this file; by default the run folder's addresses/")

    def open(self, site: Site) -> SharedFolderDiscovery:
        folder = site.folder if self.folder is None else Path(self.folder)
        return SharedFolderDiscovery(site, folder)


DISCOVERY = SharedFolderOptions
