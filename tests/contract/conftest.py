"""Every transport, for the tests that each of them has to pass."""

from tempfile import TemporaryDirectory

import pytest
from opening import TRANSPORTS


@pytest.fixture(params=TRANSPORTS)
def opened(request):
    """Makes the transport of an agent, not yet entered."""
    with TemporaryDirectory(prefix="p2p-") as folder:  # the path of a socket must be short
        yield TRANSPORTS[request.param](folder)
