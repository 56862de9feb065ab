"""The process is killed."""

import os
import signal

from pydantic import Field

from parse_p2p.wire.faults.base import ProcessFault


class Kill(ProcessFault):
    """SIGKILL; a local launcher starts it again ``restart`` seconds later."""

    ends = True

    restart: float | None = Field(None, ge=0, description="none: it stays dead")

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


FAULT = Kill
