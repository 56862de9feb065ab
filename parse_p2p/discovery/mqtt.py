"""Neighbours found, and rounds reported, through an MQTT broker (version 3.1.1); no model passes through it.

    parse-p2p/RUN/agents/ID        retained: where the agent listens and what it holds (``advertisement.py``)
    parse-p2p/RUN/telemetry/ID     its rounds, whom it lost and found, what it gained; at most once

RUN is the run's digest. A last will marks an agent that died as gone; one that leaves takes its presence back. The
broker is needed to begin; without it a run goes on, and the connection is taken up again when it is back. What it
says is checked: at worst it hides a neighbour or names a wrong door.
"""

import asyncio
import hashlib
import json
import logging
import os
import ssl
from collections import Counter
from typing import Annotated

import aiomqtt
from pydantic import AfterValidator, Field

from parse_p2p.core import events
from parse_p2p.core.errors import ConfigError, JoinTimeout, MalformedFrame, WireError, WrongRun
from parse_p2p.core.events import Event
from parse_p2p.core.peer_info import Card
from parse_p2p.core.plugin_options import sentence
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.advertisement import LONGEST, Advertisement
from parse_p2p.discovery.base import FoundOptions, Send, Site, WithoutGossip
from parse_p2p.discovery.mqtt_broker import PASSWORD, Broker

KEEPALIVE = 30  # seconds of silence after which the broker asks whether the other is there
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds between two attempts to connect
BACKLOG = 64  # reports that wait for the broker before the oldest is dropped
COMPLAINTS = 10  # lines in the log about what came from the broker; the rest is counted

_logger = logging.getLogger(__name__)
_logger.addHandler(logging.NullHandler())  # what happens to the connection stands in the agent's own log


def _a_broker(url: str) -> str:
    try:
        Broker.parse(url)
    except ConfigError as error:  # a sentence without the URL, in which there may be a password
        raise sentence(str(error)) from None
    return url


class MqttOptions(FoundOptions):
    """Agents find each other through an MQTT broker."""

    broker: Annotated[str, AfterValidator(_a_broker)] = Field(
        description="mqtt://[user@]host[:1883], or mqtts:// for TLS; a password is none of the file's"
    )

    def open(self, site: Site) -> "MqttDiscovery":
        mqtt = MqttDiscovery(site, self)
        site.log.listener = mqtt.tell
        return mqtt


class MqttDiscovery(WithoutGossip):
    """Tells the broker of one agent, and its transport of the neighbours that the broker knows."""

    def __init__(self, site: Site, options: MqttOptions) -> None:
        self.refusals: Counter[str] = Counter()
        self._site = site
        self._profile = site.profile()
        self._broker = Broker.parse(options.broker)
        self._reports: asyncio.Queue[str | None] = asyncio.Queue()
        self._connected = asyncio.Event()
        self._leaving = False
        self._trouble = "no answer"
        self._lost = False  # the connection was there before
        self._staying: asyncio.Task[None] | None = None

    async def __aexit__(self, *error: object) -> None:
        if self._staying is None:
            return
        if self._connected.is_set():
            self._reports.put_nowait(None)
            await asyncio.wait([self._staying], timeout=self._site.clocks.drain)
        self._staying.cancel()
        await asyncio.gather(self._staying, return_exceptions=True)

    async def announce(self, card: Card, send: Send) -> None:
        """Raises JoinTimeout if the broker does not answer in time, ConfigError if nobody could dial me."""
        presence = self._profile.at(self._site.transport.endpoints, self._site.host, card.incarnation)
        self._staying = asyncio.create_task(self._stay(presence))
        try:
            async with asyncio.timeout(self._site.clocks.join):
                await self._connected.wait()
        except TimeoutError:
            raise JoinTimeout(
                f"the broker {self._broker.url} did not take in {self._profile.id} within {self._site.clocks.join:g} s "
                f"({self._trouble}): start it, or correct discovery.broker"
            ) from None

    def tell(self, event: Event) -> None:
        """Report those facts of an event of the log that are to be; never waits."""
        if not event.reported:
            return
        if self._reports.qsize() >= BACKLOG:
            self._reports.get_nowait()
        line, facts = event.line(), ("event", "agent", "time", *event.reported)
        self._reports.put_nowait(json.dumps({name: line[name] for name in facts if name in line}))

    # the connection

    async def _stay(self, presence: Advertisement) -> None:
        """Be connected until told to leave; when the connection breaks, again after a pause that grows."""
        pause = SHORTEST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            try:
                async with self._client(presence) as client:
                    await self._converse(client, presence)
                    return
            except Exception as error:  # whatever the other end did to the library: the run goes on without it
                self._trouble = str(error) or type(error).__name__
            if self._leaving:
                return
            if self._connected.is_set():
                self._connected.clear()
                self._lost = True
                self._site.log.write(events.BrokerLost(why=self._trouble))
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
                pause = SHORTEST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _client(self, presence: Advertisement) -> aiomqtt.Client:
        # a name of its own for each agent: the broker ends the connection of an earlier life, and publishes its
        # will, before it lets a later one in; any broker takes 23 characters
        name = hashlib.blake2b(f"{presence.run}/{presence.id}".encode(), digest_size=10).hexdigest()
        gone = presence.model_copy(update={"gone": True})
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.user,
            password=os.environ.get(PASSWORD) if self._broker.user else None,
            identifier=f"p2p{name}",
            will=aiomqtt.Will(self._topic("agents", presence.id), gone.model_dump_json(), qos=1, retain=True),
            keepalive=KEEPALIVE,
            tls_context=ssl.create_default_context() if self._broker.tls else None,
            queue_type=_Short,
            max_queued_incoming_messages=64 + 2 * len(self._site.neighbours),
            logger=_logger,
        )

    async def _converse(self, client: aiomqtt.Client, presence: Advertisement) -> None:
        """Until told to leave. Raises MqttError."""
        mine = self._topic("agents", presence.id)
        await client.publish(mine, presence.model_dump_json(), qos=1, retain=True)
        await client.subscribe(
            [(self._topic("agents", peer), 1) for peer in sorted({presence.id, *self._site.neighbours})]
        )
        self._connected.set()
        self._site.log.write(events.BrokerFound(broker=self._broker.url, again=self._lost))
        reading = asyncio.create_task(self._read(client, presence))
        reporting = asyncio.create_task(self._report(client))
        try:
            done, _ = await asyncio.wait([reading, reporting], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            self._leaving = True
            await client.publish(mine, b"", qos=1, retain=True)  # takes the presence back
            await reading  # until the broker says so too: some drop what one said last when it goes
        finally:
            for task in (reading, reporting):
                task.cancel()
            await asyncio.gather(reading, reporting, return_exceptions=True)

    async def _report(self, client: aiomqtt.Client) -> None:
        while (report := await self._reports.get()) is not None:
            await client.publish(self._topic("telemetry", self._profile.id), report)

    async def _read(self, client: aiomqtt.Client, mine: Advertisement) -> None:
        async for message in client.messages:
            try:
                said = self._checked(message.topic.value, message.payload)
                if said is not None and said.id != mine.id and not said.gone and said.address is not None:
                    self._site.transport.connect(said.id, said.address)
            except WireError as error:
                self._complain(error)
                continue
            if message.topic.value == self._topic("agents", mine.id) and (said is None or said.gone):
                if self._leaving:
                    return
                # an earlier life of mine left, or its will says so, or somebody took my presence away
                await client.publish(message.topic.value, mine.model_dump_json(), qos=1, retain=True)

    # what comes

    def _checked(self, topic: str, payload: bytes) -> Advertisement | None:
        """What an agent of this run said of itself; None: that it left. Raises MalformedFrame, WrongRun."""
        id = PeerId(topic.rpartition("/")[2])
        if id not in (*self._site.neighbours, self._profile.id) or topic != self._topic("agents", id):
            raise MalformedFrame("a presence of one that is no neighbour")
        if not payload:
            return None
        presence = Advertisement.read(payload)
        if presence.run != self._profile.run:
            raise WrongRun(f"a presence of {id} in another run")
        if presence.id != id:
            raise MalformedFrame(f"the presence of {id} is that of another")
        return presence

    def _complain(self, error: WireError) -> None:
        self.refusals["wrong run" if isinstance(error, WrongRun) else "malformed"] += 1
        if self.refusals.total() <= COMPLAINTS:
            self._site.log.write(events.Refused(peer="the broker", kind="presence", why=str(error)))

    def _topic(self, room: str, id: PeerId) -> str:
        return f"parse-p2p/{self._profile.run}/{room}/{id}"


class _Short(asyncio.Queue[aiomqtt.Message]):
    """Keeps no more of a message than it takes to see that it is too long."""

    def put_nowait(self, item: aiomqtt.Message) -> None:
        item.payload = item.payload[: LONGEST + 1]
        super().put_nowait(item)


DISCOVERY = MqttOptions
