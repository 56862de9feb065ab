"""A real MQTT broker in a process of its own: mosquitto where it is installed, else amqtt; and who listens to it."""

import getpass
import json
import queue
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt

GUARD = 60  # seconds after which something hangs; nothing is decided by it
MOSQUITTO = "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser {user}\n"
AMQTT = """
listeners: {{default: {{type: tcp, bind: "127.0.0.1:{port}"}}}}
plugins: {{amqtt.plugins.authentication.AnonymousAuthPlugin: {{allow_anonymous: true}}}}
"""


class Broker:
    """One address; ``start`` and ``kill`` as often as wanted. It remembers nothing when it is killed."""

    def __init__(self, folder, port):
        self.port = port
        self.url = f"mqtt://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None
        program, text = ("mosquitto", MOSQUITTO) if shutil.which("mosquitto") else ("amqtt", AMQTT)
        file = Path(folder) / "broker.conf"
        file.write_text(text.format(port=port, user=getpass.getuser()), encoding="utf-8")
        self._command = [shutil.which(program) or Path(sys.executable).with_name(program), "-c", file]

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        late = time.monotonic() + GUARD
        while not self._answers():
            assert self._process.poll() is None, "the broker ended"
            assert time.monotonic() < late, "the broker does not come up"
            time.sleep(0.05)

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self):
        """Let it hang."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def _answers(self):
        try:
            with Ear(self.port):
                return True
        except OSError:
            return False


@contextmanager
def running(folder, port):
    broker = Broker(folder, port)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


class Ear:
    """Hears what is published on some topics, and may speak itself."""

    def __init__(self, port, *topics, name="", will=None):
        self._port = port
        self._topics = topics
        self._heard: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self._ready: queue.Queue[str] = queue.Queue()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, reconnect_on_failure=False)
        if will is not None:
            topic, payload = will
            self._client.will_set(topic, payload, qos=1, retain=True)
        self._client.on_connect = lambda *_: self._ready.put("connected")
        self._client.on_subscribe = lambda *_: self._ready.put("subscribed")
        self._client.on_message = lambda client, _, m: self._heard.put((m.topic, bytes(m.payload), m.retain))

    def __enter__(self):
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        try:
            self._ready.get(timeout=5)
        except queue.Empty:
            self.__exit__()
            raise ConnectionError("it does not answer") from None
        for topic in self._topics:
            self._client.subscribe(topic, 1)
            self._ready.get(timeout=GUARD)
        return self

    def __exit__(self, *_):
        self._client.disconnect()
        self._client.loop_stop()

    def die(self):
        """Without a word, if that has not happened."""
        if (link := self._client.socket()) is not None:
            assert isinstance(link, socket.socket)
            link.shutdown(socket.SHUT_RDWR)

    def say(self, topic, payload, retain=True):
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(GUARD)

    def next(self):
        """The next (topic, payload, whether it was retained)."""
        return self._heard.get(timeout=GUARD)

    def until(self, wanted):
        """The first (topic, payload as JSON or None) that is wanted."""
        while True:
            topic, payload, _ = self.next()
            said = json.loads(payload) if payload else None
            if wanted(topic, said):
                return topic, said
