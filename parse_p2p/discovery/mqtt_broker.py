"""Where an MQTT broker is and how to speak to it."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from parse_p2p.core.errors import ConfigError

PASSWORD = "PARSE_MQTT_PASSWORD"
"""The environment's word for the password of the user in the broker's URL."""


@dataclass(frozen=True)
class Broker:
    """A broker's URL, taken apart."""

    url: str
    host: str
    port: int
    user: str | None
    tls: bool

    @staticmethod
    def parse(url: str) -> "Broker":
        """Raises ConfigError."""
        try:
            parts = urlsplit(url)
            host, port, known = parts.hostname, parts.port, parts.scheme in ("mqtt", "mqtts")
        except ValueError:
            host, port, known = None, None, False
        if "@" in url and ":" in url.rpartition("@")[0].partition("//")[2]:
            raise ConfigError(f"a password must not stand in a run file: take it out and set {PASSWORD} instead")
        if not host or not known or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ConfigError("this is no broker: write mqtt://host:1883, or mqtts://user@host:8883")
        tls = parts.scheme == "mqtts"
        return Broker(url, host, port or (8883 if tls else 1883), unquote(parts.username or "") or None, tls)
