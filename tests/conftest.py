"""What all tests have in common; its place also makes ``worlds`` importable from every folder of tests."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # nothing timed decides a test
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """As an agent's process does: small tensors gain nothing from more."""
    torch.set_num_threads(1)
