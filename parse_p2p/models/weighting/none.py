"""All branches count alike, always."""

from collections.abc import Mapping

from parse_p2p.core.types import Modality
from parse_p2p.models.weighting.base import Weigher, Weighting


class Nothing(Weighting):
    """Weighs nothing."""

    def weigher(self, widths: Mapping[Modality, int]) -> Weigher | None:
        return None


WEIGHTING = Nothing
