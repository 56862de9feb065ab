"""A run file as small as one can be that has agents of one modality and of two."""

TINY = {
    "graph": {"generator": "ring"},
    "agents": {"mix": {"audio": 2, "motion": 1, "audio+motion": 1}},
    "dataset": "bits",
    "data": {"samples": 320},
    "model": {"latent": 12, "hidden": 8, "encoder": {"width": 8, "depth": 1}},
    "train": {"batch": 16},
    "rounds": 3,
}
