"""Patches of ``lab/report/json_diff.py``, put over what they are of."""


def applied(old, patch):
    """``old`` with a patch, as the page does it; ``old`` itself is changed."""
    if "is" in patch:
        return patch["is"]
    for key, inner in patch.get("at", {}).items():
        place = int(key) if isinstance(old, list) else key
        old[place] = applied(old[place] if isinstance(old, list) else old.get(place), inner)
    for key in patch.get("gone", []):
        del old[key]
    if "more" in patch:
        old.extend(patch["more"])
    return old
