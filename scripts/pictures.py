"""Draw the pictures of the documentation. Writes docs/pictures/network.svg, slices.svg and overlays.svg.

Which boxes are joined in slices.svg is what PARSE's sharing table says of the agents of topologies/ring.yaml, and
overlays.svg is drawn by the laboratory; so a change of either shows in the pictures.
"""

from itertools import pairwise
from pathlib import Path

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.slices import Component
from parse_p2p.core.types import Kind, PeerId

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
FONT = 'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"'
COLOURS = {Kind.JOINT: "#7a7f87", Kind.REDUNDANT: "#0072b2", Kind.UNIQUE: "#c77700", Kind.SYNERGISTIC: "#00845f"}
INK = "#24292f"
SHOWN = ("a0", "a2", "a5", "a1")  # audio, twice audio+motion, motion


def text(x: float, y: float, said: str, anchor: str = "middle", size: int = 13, colour: str = INK) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{said}</text>'


def box(x: float, y: float, width: float, height: float, colour: str, said: str = "") -> str:
    """A filled box around its centre, with white letters."""
    corner = f'x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {corner} rx="4" fill="{colour}"/>' + (text(x, y + 4.5, said, colour="#ffffff") if said else "")


def line(
    x: float, y: float, to_x: float, to_y: float, colour: str = INK, width: float = 1.4, arrow: bool = True
) -> str:
    end = ' marker-end="url(#arrow)"' if arrow else ""
    return f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" stroke="{colour}" stroke-width="{width:g}"{end}/>'


def svg(width: int, height: int, title: str, body: list[str]) -> str:
    """A picture on white, so that it can be read on a dark page too."""
    arrow = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{INK}"/></marker></defs>'
    )
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>'
    ground = f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>'
    return "\n".join([head, f"<title>{title}</title>", arrow, ground, *body, "</svg>"]) + "\n"


def network() -> str:
    """The network of an agent with two modalities: trunks, slices, heads, and the sum of their logits."""
    body = []
    slices = (Kind.REDUNDANT, Kind.UNIQUE, Kind.SYNERGISTIC)
    heads = {"unique, audio": (Kind.UNIQUE, 45), "redundant": (Kind.REDUNDANT, 115),
             "synergistic": (Kind.SYNERGISTIC, 185), "unique, motion": (Kind.UNIQUE, 255)}  # fmt: skip
    for name, middle in (("audio", 80), ("motion", 220)):
        body += [text(45, middle + 5, name), line(75, middle, 98, middle)]
        body += [box(150, middle, 100, 44, COLOURS[Kind.JOINT], "trunk")]
        for i, kind in enumerate(slices):
            y = middle + 40 * (i - 1)
            head = f"unique, {name}" if kind == Kind.UNIQUE else str(kind)
            body += [line(202, middle, 258, y), box(315, y, 110, 30, COLOURS[kind], str(kind))]
            body += [line(372, y, 458, heads[head][1], COLOURS[kind])]
    for name, (kind, y) in heads.items():
        body += [box(530, y, 140, 34, COLOURS[kind], name), line(602, y, 668, 150)]
    body.append(f'<circle cx="690" cy="150" r="20" fill="none" stroke="{INK}" stroke-width="1.4"/>')
    body += [text(690, 156, "Σ", size=18), line(712, 150, 738, 150), text(770, 155, "logits")]
    for x, said in ((150, "trunks"), (315, "rows: slices of the latent"), (530, "heads")):
        body.append(text(x, 312, said, size=12))
    return svg(810, 326, "The three-slice network of an agent with audio and motion", body)


def name_of(component: Component) -> str:
    part = component.part.replace("rows.", "rows, ").replace("head.", "head, ")
    return f"{part}, {component.modality}" if component.modality else part


def slices(plan: RunPlan) -> str:
    """Components of four agents' networks; those that PARSE's table shares are joined."""
    offers = plan.laid(0).offers
    known = {key.component: (region.component, key) for me in SHOWN for key, region in offers[PeerId(me)].items()}
    order = sorted(known.values(), key=lambda found: _row(found[0]))
    columns = {me: 240 + 110 * i for i, me in enumerate(SHOWN)}
    body = []
    for me, x in columns.items():
        body += [text(x, 30, plan.kind(PeerId(me)), size=14), text(x, 47, f"agent {me}", size=11, colour="#57606a")]
    for i, (component, key) in enumerate(order):
        y, colour = 76 + 27 * i, COLOURS[component.kind]
        holding = [x for me, x in columns.items() if key in offers[PeerId(me)]]
        body.append(text(20, y + 4.5, name_of(component), "start"))
        body += [line(a, y, b, y, colour, 2.5, arrow=False) for a, b in pairwise(holding)]
        body += [box(x, y, 60, 18, colour) for x in holding]
    return svg(626, 76 + 27 * len(order), "Which parts of their networks agents exchange under PARSE", body)


def _row(component: Component) -> tuple[int, int, int]:
    """Heads of no single modality stand between what is of audio and what is of motion."""
    block = 1 if component.modality is None else 0 if component.modality == "audio" else 2
    return (
        block,
        ("trunk", "rows", "head").index(component.part.partition(".")[0]),
        tuple(COLOURS).index(component.kind),
    )


def main() -> None:
    plan = RunPlan(run_file.load(ROOT / "topologies" / "ring.yaml"))
    (PICTURES / "network.svg").write_text(network(), encoding="utf-8")
    (PICTURES / "slices.svg").write_text(slices(plan), encoding="utf-8")
    from parse_p2p.lab.graphs import picture

    picture.save(picture.drawn(plan), PICTURES / "overlays.svg")
    print("wrote docs/pictures/network.svg, slices.svg and overlays.svg")


if __name__ == "__main__":
    main()
