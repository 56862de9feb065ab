"""Modules of one's own as encoders, and a few that are none."""

import torch
from torch import nn

from parse_p2p.models.fission import Fission


class Normed(nn.Sequential):
    """(B, 16) → (B, 12), with running statistics and dropout."""

    def __init__(self, inputs=16, features=12):
        super().__init__(
            nn.Linear(inputs, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, features), nn.ReLU()
        )


class Outer:
    """A module inside of something else."""

    @staticmethod
    def narrow(shape, features=5):
        return nn.Linear(shape[0], features)


class Lazy(nn.Sequential):
    """A module that finds its sizes when it is first called."""

    def __init__(self):
        super().__init__(nn.LazyLinear(7), nn.LazyBatchNorm1d(), nn.Tanh())


class Recurrent(nn.Module):
    """(B, 16) → (B, 4), as a series of 16 steps."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(1, 4, batch_first=True)

    def forward(self, x):
        return self.cell(x.unsqueeze(-1))[0][:, -1]


class Maps(nn.Module):
    """(B, 16) → (B, 3, 2, 4), in which the mean of a map is the sum of a sample times the map's number from 1."""

    def forward(self, x):
        sums = x.sum(1, keepdim=True) * torch.arange(1.0, 4.0)
        return sums[:, :, None, None] * torch.tensor([[0.0, 0.0, 1.0, 3.0], [0.5, 0.5, 1.0, 2.0]])


class Heavy(nn.Linear):
    """Cannot be made without numbers, and counts how often it is made."""

    made = 0

    def __init__(self):
        super().__init__(16, 6)
        Heavy.made += 1
        float(self.weight.detach().sum())


def flat(features):
    """An encoder without a parameter."""
    return nn.Identity()


def once():
    """Gives the same module at each call."""
    return KEPT


KEPT = nn.Linear(16, 3)


class Broken(nn.Module):
    """Cannot be made."""

    def __init__(self):
        super().__init__()
        raise OSError("no such\nfile")


class Pair(nn.Module):
    """Gives two tensors."""

    def forward(self, x):
        return x, x


class Sum(nn.Module):
    """Gives a number for each sample."""

    def forward(self, x):
        return x.sum(1)


class Whole(nn.Module):
    """Gives one row for the whole batch."""

    def forward(self, x):
        return x.mean(0, keepdim=True)


class Signs(nn.Module):
    """Gives whole numbers."""

    def forward(self, x):
        return x.sign().long()


def pair(shapes, classes, options, encoders):
    return Pair()


class Kept(nn.Linear):
    """Has the values of its constructor for good."""

    keeps_values = True


class Net(Fission):
    """A network that looks at numbers while it is made, and has a module with values of its own."""

    drawn_last = torch.zeros(())

    def __init__(self, shapes, classes, options, encoders):
        super().__init__(shapes, classes, options, encoders)
        self.extra = Kept(3, 3)
        float(self.extra.weight.detach().sum())
        Net.drawn_last = torch.randn(3, 3)


class Double(nn.Module):
    """Computes in double precision."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 3, dtype=torch.float64)

    def forward(self, x):
        return self.layer(x.double()).float()


def number():
    return 3


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x).relu())


class Drawing(nn.Linear):
    """Draws numbers even when it is evaluated."""

    def __init__(self):
        super().__init__(16, 6)

    def forward(self, x):
        return super().forward(x) + torch.randn(len(x), 6)


class Leaving(nn.Linear):
    """Wants to end the program."""

    def __init__(self):
        super().__init__(16, 6)

    def forward(self, x):
        raise SystemExit(0)


class Changing(nn.Linear):
    """Writes into what it is given."""

    def __init__(self):
        super().__init__(16, 6)

    def forward(self, x):
        return super().forward(x.sub_(0.5))
