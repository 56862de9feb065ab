"""What is shared with whom, as a table.

A model is cut into named components; a method's table gives each kind of component (its *part*) a group.
A slice is ``component@group``: two agents exchange it if and only if both offer that very key, so an agent
outside the group is skipped, never averaged with zeros (arXiv 2601.10012, section on partial alignment).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Kind, Modality, PeerId

HEAD = "head"
"""What the parts that depend on the label space begin with, in every network."""


@dataclass(frozen=True)
class Component:
    """A named group of parameters of one model, the smallest unit that is shared.

    ``part`` is the row of the sharing table it falls under, ``modality`` the one it belongs to (if one), and
    ``architecture`` is set where the agent's encoder departs from the run's: such components are shared only
    among agents that depart alike.
    """

    part: str
    modality: Modality | None = None
    kind: Kind = Kind.JOINT
    architecture: str = ""

    @property
    def name(self) -> str:
        """The part with its modality, such as ``trunk.audio``, or the part alone; unique in a model."""
        return f"{self.part}.{self.modality}" if self.modality else self.part

    @property
    def labelled(self) -> bool:
        """Whether it depends on the label space, as heads do and nothing else: then it is shared within a task."""
        return self.part.startswith(HEAD)


@dataclass(frozen=True)
class Region:
    """Where a component lies in the agent's flat parameter vector, from ``start`` up to but without ``stop``.

    Both count elements. ``layout`` names the component's tensors with their shapes, in order.
    """

    component: Component
    start: int
    stop: int
    layout: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def size(self) -> int:
        """Elements of the component."""
        return self.stop - self.start

    @property
    def digest(self) -> str:
        """Equal for two agents exactly when averaging their regions element by element makes sense."""
        text = repr(self.layout).encode()
        return hashlib.blake2b(text, digest_size=8).hexdigest()


@dataclass(frozen=True)
class Holder:
    """An agent as the sharing table sees it: its name, its modalities and the components of its model.

    ``regions`` are the components by name, ``size`` is the width and depth of a network that has one size for all
    modalities, ``task`` the name of its label space where the run has several.
    """

    id: PeerId
    modalities: tuple[Modality, ...]
    regions: Mapping[str, Region] = field(hash=False)
    size: tuple[int, int] | None = None
    task: str = ""

    @property
    def type(self) -> str:
        """The modalities joined by ``+``, such as ``audio+motion``."""
        return "+".join(self.modalities)


Group = Callable[[Holder, Component], str | None]
"""The name of the group that shares this component of this agent; None keeps it at home.

One of one's own is any function of these two that gives equal names exactly to agents that are to share.
"""


def everyone(holder: Holder, component: Component) -> str | None:
    """Share with all agents that have the component."""
    return "all"


def nobody(holder: Holder, component: Component) -> str | None:
    """Keep the component at home."""
    return None


def same_type(holder: Holder, component: Component) -> str | None:
    """Share with the agents that have exactly the same set of modalities."""
    return f"type:{holder.type}"


def same_shape(holder: Holder, component: Component) -> str | None:
    """Share with all agents that have a component of this name whose tensors have the same names and shapes."""
    return f"shape:{holder.regions[component.name].digest}"


def having(holder: Holder, component: Component) -> str | None:
    """Share with all agents that have the component's modality; one that belongs to no modality stays at home."""
    return component.modality


def multimodal(holder: Holder, component: Component) -> str | None:
    """Share among the agents with two modalities or more."""
    return "multimodal" if len(holder.modalities) > 1 else None


def unimodal(holder: Holder, component: Component) -> str | None:
    """Share among the agents with one modality."""
    return "unimodal" if len(holder.modalities) == 1 else None


@cache
def both(first: Group, second: Group) -> Group:
    """The intersection of two groups, as ``both(having, multimodal)``: shared where both share, as far as both do.

    Equal arguments give the very same function, so that tables made anew compare equal.
    """

    def group(holder: Holder, component: Component) -> str | None:
        names = first(holder, component), second(holder, component)
        return f"{names[0]}&{names[1]}" if names[0] and names[1] else None

    return group


REST = "*"
"""The row of a sharing table for all parts that have none of their own."""

Sharing = Mapping[str, Group]
"""The table of a method: the group of every part of a model (arXiv 2601.10012, section on partial alignment).

A row may be for a part (``head.unique``), for a family of parts (``head``), or for all the rest (``*``); the narrowest
counts.
"""


def row_of(sharing: Sharing, part: str) -> Group | None:
    """The group that a table gives a part; None where it has no row for it."""
    family, _, _ = part.partition(".")
    return next((sharing[name] for name in (part, family, REST) if name in sharing), None)


@dataclass(frozen=True, order=True)
class SliceKey:
    """The name of a slice on the wire, ``component@group``."""

    component: str
    group: str

    def __str__(self) -> str:
        return f"{self.component}@{self.group}"


def offers(sharing: Sharing, holder: Holder) -> dict[SliceKey, Region]:
    """The slices this agent offers under a table, with their regions.

    Raises ConfigError where the model has a part that the table does not know.
    """
    offered = {}
    for region in holder.regions.values():
        component = region.component
        row = row_of(sharing, component.part)
        if row is None:
            raise ConfigError(
                f"the method's sharing table has no row for the part {component.part!r} of agent {holder.id}: "
                f"{nearest(component.part, sharing)}; choose the network the method is made for"
            )
        group = row(holder, component)
        if group is not None:
            offered[SliceKey(component.name, group + _apart(holder, component))] = region
    return offered


def _apart(holder: Holder, component: Component) -> str:
    """What narrows a group to those that hold the component alike: the same architecture, in heads the same task."""
    architecture = f"~{component.architecture}" if component.architecture else ""
    return architecture + (f"~task:{holder.task}" if holder.task and component.labelled else "")
