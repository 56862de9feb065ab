"""Small adapter networks, and the tensors that hands would write into them."""

import torch
from torch.nn.functional import cross_entropy
from worlds import BOTH

from parse_p2p.data import bits
from parse_p2p.data.base import Batch, split, standardise
from parse_p2p.methods.mosaic_setup import Setup
from parse_p2p.models.adapters import Adapters
from parse_p2p.models.base import EncoderOptions, ModelOptions

CLASSES = 16


def adapters(width=12, depth=3, shapes=BOTH, **model):
    """A network by itself; A, B and the backbone are the random ones it is made with."""
    encoder = EncoderOptions(width=width, depth=depth)
    options = ModelOptions(**{"network": "adapters", "encoder": encoder, "rank": 4, "blocks": 3} | model)
    return Adapters(shapes, CLASSES, options, dict.fromkeys(shapes, encoder))


def samples(count=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    inputs = {m: torch.randn(count, *shape, generator=rng) for m, shape in BOTH.items()}
    return Batch(inputs, torch.randint(CLASSES, (count,), generator=rng))


@torch.no_grad()
def scrambled(model, seed=1, received=True):
    """The model with random adapters, mine and received, in place of none."""
    rng = torch.Generator().manual_seed(seed)
    for adapter in model.shared.values():
        for tensor in (*adapter.local, *(adapter.received if received else ())):
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=rng))
    return model


def public(seed=0, samples=2400):
    """Public samples and others of the same kind that nobody was trained on."""
    return standardise(*split(bits.open(bits.Options(samples=samples), seed), 0.3, seed))


def prepared(model, data, sizes, b_align, steps=300, seed=0):
    setup = Setup(model, data, {}, seed, steps, b_align)
    setup.add(sizes)
    return setup


def loss(model, batch):
    return cross_entropy(model(batch.inputs).logits(), batch.targets)
