"""Who may speak: CURVE keys of agents, a keyring of those that are let in, and the handler that lets them in.

A link is encrypted and both ends are proved (CurveZMQ, ZeroMQ RFC 26). An agent's name is that of its key in the
keyring: what it says of itself does not count. A keyring is a folder with ``<id>.pub`` for every agent and, on
the agent's own host, ``<id>.key``, readable by its owner alone; each holds one key in Z85.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zmq
import zmq.asyncio
import zmq.utils.z85

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId

ENDPOINT = "inproc://zeromq.zap.01"
KEY = 40  # characters of a key in Z85


@dataclass(frozen=True)
class CurveKeys:
    """My key pair and the public keys of all that I speak with, in Z85."""

    public: bytes
    secret: bytes = field(repr=False)
    peers: Mapping[PeerId, bytes]

    def admit(self, key: bytes) -> PeerId | None:
        """Whose key this is, given as 32 bytes; None for an unknown one."""
        given = zmq.utils.z85.encode(key) if len(key) == 32 else b""
        return next((peer for peer, public in self.peers.items() if public == given), None)

    def as_server(self, socket: zmq.asyncio.Socket) -> None:
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, self.secret)
        socket.set(zmq.ZAP_DOMAIN, b"parse-p2p")

    def as_client_of(self, peer: PeerId, socket: zmq.asyncio.Socket) -> None:
        socket.set(zmq.CURVE_SERVERKEY, self.peers[peer])
        socket.set(zmq.CURVE_PUBLICKEY, self.public)
        socket.set(zmq.CURVE_SECRETKEY, self.secret)


class ZapHandler:
    """Answers ZeroMQ's authentication requests (ZAP, RFC 27) of one context; nothing that is asked can end it."""

    def __init__(self, context: zmq.asyncio.Context, curve_keys: CurveKeys) -> None:
        self._keys = curve_keys
        self._socket: zmq.asyncio.Socket = context.socket(zmq.REP)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(ENDPOINT)

    async def serve(self) -> None:
        while True:
            await self._socket.send_multipart(self._answer(await self._socket.recv_multipart()))

    def close(self) -> None:
        self._socket.close(0)

    def _answer(self, request: list[bytes]) -> list[bytes]:
        # version, request id, domain, address, identity, mechanism, credentials …
        peer = None
        if len(request) == 7 and request[0] == b"1.0" and request[5] == b"CURVE":
            peer = self._keys.admit(request[6])
        id = request[1] if len(request) > 1 else b""
        verdict = [b"200", b"OK", peer.encode()] if peer is not None else [b"400", b"not in the keyring", b""]
        return [b"1.0", id, *verdict, b""]


def make(folder: Path, ids: Iterable[PeerId]) -> list[PeerId]:
    """Write key pairs into a keyring, for those that have none; who got one. Raises ConfigError."""
    made = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for me in ids:
            if (folder / f"{me}.key").exists() or (folder / f"{me}.pub").exists():
                continue
            public, secret = zmq.curve_keypair()
            with open(os.open(folder / f"{me}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secret + b"\n")
            (folder / f"{me}.pub").write_bytes(public + b"\n")
            made.append(me)
    except OSError as error:
        raise ConfigError(f"keys cannot be written to {folder}: {(error.strerror or str(error)).lower()}") from None
    return made


def read(folder: Path, me: PeerId, peers: Iterable[PeerId]) -> CurveKeys:
    """An agent's guard from a keyring. Raises ConfigError naming the file and the remedy."""
    private = folder / f"{me}.key"
    with contextlib.suppress(OSError):
        if private.stat().st_mode & 0o077:
            raise ConfigError(f"the private key {private} can be read by others: chmod 600 it, or make a new one")
    public = {peer: _key(folder / f"{peer}.pub") for peer in {me, *peers}}
    secret = _key(private)
    if zmq.curve_public(secret) != public[me]:
        raise ConfigError(f"{private} and {folder / f'{me}.pub'} are no pair: delete both and make new ones")
    return CurveKeys(public.pop(me), secret, public)


def _key(path: Path) -> bytes:
    try:
        text = path.read_bytes().strip()
        if len(text) != KEY or len(zmq.utils.z85.decode(text)) != 32:
            raise ValueError("it holds no key")
    except (OSError, ValueError, KeyError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "it holds no key"
        raise ConfigError(
            f"the key {path} cannot be read: {reason}; make keys with: parse-agent keys --topology FILE"
        ) from None
    return text
