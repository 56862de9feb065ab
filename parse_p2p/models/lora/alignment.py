"""Make the r coordinates of adapters in networks of two sizes mean the same (arXiv 2506.11024; Co-LoRA).

At matching linear maps of a small network s, the pivot, and a large one l, both run on the same n public samples:
x (n, d_i) are the maps' inputs, y = x Wᵀ (n, d_o) their outputs, δ (n, d_o) the gradients in them. A (r, d_i) reads
the coordinates, B (d_o, r) writes them. All is computed in double precision, in closed form.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor

from parse_p2p.models.lora.backbone import Tap

RIDGE = 1e-3  # of the mean square of the regressors
GAMMA = 1e-4  # added to the scatter matrices of the canonical correlation

K = TypeVar("K")

Frame = tuple[Tensor, Tensor]
"""A and B of one linear map."""


def orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """A random (rows, columns) matrix with orthonormal columns, for rows >= columns."""
    if torch.get_default_device().type == "meta":  # only its shape is asked for, and torch would load its compiler
        return torch.empty(rows, columns)
    return polar(torch.randn(rows, columns, generator=generator, dtype=torch.float64)).float()


def polar(matrix: Tensor) -> Tensor:
    """The nearest matrix whose columns, or rows if those are fewer, are orthonormal: U Vᵀ of U S Vᵀ."""
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    nearest: Tensor = u @ vt
    return nearest


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """M (d, r) that minimises ‖x M − y‖² + λ‖M‖², λ a thousandth of the mean squared norm of x's columns."""
    scatter = x.T @ x
    penalty = RIDGE * scatter.diagonal().mean() + 1e-12
    solution: Tensor = torch.linalg.solve(scatter + penalty * torch.eye(len(scatter), dtype=x.dtype), x.T @ y)
    return solution


def align_inputs(small: Tensor, large: Tensor, a_small: Tensor) -> Tensor:
    """A of the large map: the ridge regression of the pivot's coordinates A_s x_s on x_l, made orthonormal by rows.

    ``small`` (n, d_s), ``large`` (n, d_l), ``a_small`` (r, d_s) → (r, d_l). The closed form of the paper's
    gradient descent on the mean of ‖A_l x_l − A_s x_s‖².
    """
    small, large, a_small = small.double(), large.double(), a_small.double()
    return polar(ridge(large, small @ a_small.T).T)


def adapter_cca(small: Tap, large: Tap, frame: Frame, start: Frame) -> Tensor:
    """B of the large map by canonical correlation of the adapters' outputs with P = I (the published procedure).

    With X = x Aᵀ Bᵀ centred and C = XᵀX + γI: ``C_l^½ U Vᵀ C_s^-½ B_s``, U and V from the thin singular value
    decomposition of ``C_l^-½ X_lᵀX_s C_s^-½``. ``start`` holds A of the large map, aligned, and its own B, whose
    span the result cannot leave.
    """
    x_s, x_l = (
        _centred(tap.inputs.double() @ a.double().T @ b.double().T) for tap, (a, b) in ((small, frame), (large, start))
    )
    half_s, half_l = _powers(x_s.T @ x_s), _powers(x_l.T @ x_l)
    u, _, vt = torch.linalg.svd(half_l[1] @ (x_l.T @ x_s) @ half_s[1], full_matrices=False)
    b: Tensor = half_l[0] @ u @ vt @ half_s[1] @ frame[1].double()
    return b


def output_map(small: Tap, large: Tap, frame: Frame, start: Frame) -> Tensor:
    """B of the large map: ridge regression of y_s B_s on y_l, both centred, made orthonormal (an extension)."""
    y_s, y_l = _centred(small.outputs.double()), _centred(large.outputs.double())
    return polar(ridge(y_l, y_s @ frame[1].double()))


def grad_map(small: Tap, large: Tap, frame: Frame, start: Frame) -> Tensor:
    """B of the large map: ridge regression of δ_s B_s on δ_l, made orthonormal (an extension).

    The gradient in P is (Bᵀδ)(A x)ᵀ, so matching both factors makes the gradients of both networks match.
    """
    return polar(ridge(large.gradients.double(), small.gradients.double() @ frame[1].double()))


B_STEPS: Mapping[str, Callable[[Tap, Tap, Frame, Frame], Tensor]] = {
    "adapter_cca": adapter_cca,
    "output_map": output_map,
    "grad_map": grad_map,
}


def aligned(small: Tap, large: Tap, frame: Frame, start: Frame, b_step: str) -> Frame:
    """A and B of the large map, for those of the pivot (``frame``) and the large map's own random ones (``start``)."""
    a = align_inputs(small.inputs, large.inputs, frame[0])
    return a.float(), B_STEPS[b_step](small, large, frame, (a, start[1])).float()


def merged(seen: Sequence[Mapping[K, Tap]]) -> dict[K, Tap]:
    """The taps of several batches as those of one."""
    return {
        where: Tap(*(torch.cat([getattr(taps[where], f.name) for taps in seen]) for f in fields(Tap)))
        for where in seen[0]
    }


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def _powers(scatter: Tensor) -> tuple[Tensor, Tensor]:
    """(C^½, C^-½) of C = scatter + γI."""
    values, vectors = torch.linalg.eigh(scatter + GAMMA * torch.eye(len(scatter), dtype=scatter.dtype))
    root = values.clamp(min=GAMMA).sqrt()
    return vectors * root @ vectors.T, vectors / root @ vectors.T
