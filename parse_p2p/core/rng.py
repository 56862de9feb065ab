"""Random numbers that depend on names alone, so that a resumed run draws what an uninterrupted one would have."""

import hashlib

import torch


def seeded(*names: object) -> torch.Generator:
    """A CPU generator whose draws depend on the names alone, as ``seeded(run_seed, "noise", me, round)``.

    Names are told apart by their text. Equal names give equal draws on every agent and in every run, so no generator
    has to be kept in a checkpoint.
    """
    digest = hashlib.blake2b("\x1f".join(map(str, names)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
