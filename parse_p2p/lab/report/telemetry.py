"""What a run's agents tell an MQTT broker of their rounds, for who has no log of them.

It is less than the logs hold: losses, accuracies, seconds, bytes on the wire, whom an agent lost and found, and what it
gained; no slices, so that neither edges nor consensus are known. Whatever comes is checked as a line of a log is.
"""

import asyncio
import contextlib
import json
import os
import queue
import ssl
import threading
from collections.abc import Collection, Iterator

import aiomqtt

from parse_p2p.core import events
from parse_p2p.core.events import Event
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.advertisement import LONGEST
from parse_p2p.discovery.mqtt import LONGEST_PAUSE, SHORTEST_PAUSE
from parse_p2p.discovery.mqtt_broker import PASSWORD, Broker

WAITING = 10_000  # events that nobody has read yet; later ones are dropped


class Telemetry:
    """Listens in a thread of its own until the program ends; takes the connection up again when it breaks."""

    def __init__(self, broker: Broker, run: str, agents: Collection[PeerId]) -> None:
        self._broker = broker
        self._run = run
        self._agents = agents
        self._heard: queue.Queue[Event] = queue.Queue(WAITING)
        self.trouble = "not connected yet"
        threading.Thread(target=lambda: asyncio.run(self._stay()), name="telemetry", daemon=True).start()

    def read(self) -> Iterator[Event]:
        """The events that came since the last call."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._heard.get_nowait()

    async def _stay(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            try:
                async with self._client() as client:
                    await client.subscribe(f"parse-p2p/{self._run}/telemetry/+")
                    self.trouble, pause = "", SHORTEST_PAUSE
                    async for message in client.messages:
                        self._take(message.topic.value, message.payload)
            except Exception as error:  # whatever the other end did to the library: try again
                self.trouble = str(error) or type(error).__name__
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _client(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.user,
            password=os.environ.get(PASSWORD) if self._broker.user else None,
            tls_context=ssl.create_default_context() if self._broker.tls else None,
        )

    def _take(self, topic: str, payload: object) -> None:
        me = PeerId(topic.rpartition("/")[2])
        if me not in self._agents or not isinstance(payload, bytes) or len(payload) > LONGEST:
            return
        with contextlib.suppress(ValueError, RecursionError, queue.Full):
            event = events.read(json.loads(payload))
            if event is not None and event.agent == me and event.reported:
                self._heard.put_nowait(event)
