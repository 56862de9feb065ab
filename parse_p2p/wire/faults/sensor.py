"""A sensor breaks."""

from pydantic import Field

from parse_p2p.wire.faults.base import SensorFault


class Sensor(SensorFault):
    """From this round on the agents read no numbers of this modality."""

    round: int = Field(ge=0, description="the first without numbers")

    def breaks(self, round: int) -> bool:
        return self.round <= round


FAULT = Sensor
