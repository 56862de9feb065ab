"""A world that cannot be is refused when it is assembled, before anything is started or written."""

import pytest
from plans import plan

from parse_p2p.core.errors import ConfigError


@pytest.mark.parametrize("overlay", ["per-slice", "induced"])
def test_a_partition_that_cannot_be_is_refused_whatever_the_overlay(overlay):
    with pytest.raises(ConfigError, match="group"):
        plan(overlay=overlay, partition={"kind": "group"})
    with pytest.raises(ConfigError, match="did you mean 'dirichlet'"):
        plan(overlay=overlay, partition={"kind": "dirichlit"})
