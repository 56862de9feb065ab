"""Ports for tests that must know one beforehand."""

import os
import socket

FIRST, LAST = 10240, 30720  # below those that systems deal out by themselves


class _Range:
    """This process's share of the ports, gone through once, so that two tests never wait for the same one."""

    def __init__(self):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        size = (LAST - FIRST) // 20
        self.ports = range(FIRST + int(worker) % 20 * size, FIRST + (int(worker) % 20 + 1) * size)
        self.at = os.getpid() * 37 % size  # other test runs on this machine begin elsewhere

    def next(self, count):
        for _ in range(len(self.ports)):
            if self.at + count > len(self.ports):
                self.at = 0
            first, self.at = self.ports[self.at], self.at + count
            if all(map(_free, range(first, first + count))):
                return first
        raise AssertionError("no free ports")


def _free(port):
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
        return True
    except OSError:
        return False


_mine = _Range()


def free(count=1):
    """The first of so many neighbouring ports that nobody has, and that nobody else is told of."""
    return _mine.next(count)
