"""A Ray cluster of two nodes on this machine, for tests; a program of its own, since Ray leaves threads behind.

It prints its address and the id of the first node, and then does what each line of its input says, answering
``done``: ``lose`` the second node, ``add`` one again.
"""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

CPUS = 2  # of each node
MEMORY = 80 << 20  # bytes of each node's object store
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_prestart_worker_first_driver": "0"}


class Cluster:
    def __init__(self, process):
        self._process = process
        self.address, self.first = process.stdout.readline().split()  # the first node's id

    def say(self, word):
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == "done"


@contextmanager
def running():
    """With RAY_ADDRESS set for all that is started meanwhile."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'parse-p2p[ray]'")
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | QUIET
    )
    try:
        cluster = Cluster(process)
        os.environ["RAY_ADDRESS"] = cluster.address
        yield cluster
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        process.communicate(timeout=60)  # it shuts down when its input ends


def main():
    from ray.cluster_utils import Cluster as Nodes

    def node():
        return nodes.add_node(num_cpus=CPUS, object_store_memory=MEMORY, include_dashboard=False)

    said = os.dup(1)
    os.dup2(2, 1)  # what Ray prints is none of ours
    nodes = Nodes()
    node()
    second = node()
    os.write(said, f"{nodes.address} {nodes.head_node.node_id}\n".encode())
    for line in sys.stdin:
        if line.strip() == "lose":
            nodes.remove_node(second, allow_graceful=False)
        else:
            second = node()
            nodes.wait_for_nodes()
        os.write(said, b"done\n")
    nodes.shutdown()


if __name__ == "__main__":
    main()
