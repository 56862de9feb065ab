"""What changed between two structures of dicts, lists and plain values, so that a page can be kept up to date.

A patch is ``{"is": value}``, which stands for all, or any of ``at`` (patches by key or by place), ``gone`` (keys) and
``more`` (at the end of a list). Curves grow at their ends: a round costs a few numbers, whatever came before.
"""

from typing import Any

Patch = dict[str, Any]


def changes(old: Any, new: Any) -> Patch | None:
    """What makes ``new`` of ``old``; None where they are equal."""
    if type(old) is type(new) and old == new:
        return None
    if isinstance(old, dict) and isinstance(new, dict):
        inner = {key: {"is": value} if key not in old else changes(old[key], value) for key, value in new.items()}
        gone = [key for key in old if key not in new]
        return _patch(inner, gone=gone)
    if isinstance(old, list) and isinstance(new, list) and 0 < len(old) <= len(new):
        pairs = zip(old, new, strict=False)
        return _patch({str(i): changes(a, b) for i, (a, b) in enumerate(pairs)}, more=new[len(old) :])
    return {"is": new}


def _patch(inner: dict[str, Patch | None], **rest: list[Any]) -> Patch:
    at = {key: patch for key, patch in inner.items() if patch is not None}
    return ({"at": at} if at else {}) | {key: value for key, value in rest.items() if value}
