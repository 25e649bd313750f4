"""Measures of a model of drawings, as the paper defines them and per drawing."""

import numpy as np

from keras_ae.datasets import sketches

BATCH = 100


def scores(score, drawings, labels=None, seed=0):
    """Returns the terms of each drawing in stroke-3, `{term: (N,)}`, from the endpoint `score`.

    Args:
        score: function of the endpoint's named inputs.
        drawings: list of drawings in stroke-3.
        labels: their classes, for a model of classes; None otherwise.
        seed: int; drawing i is scored with the code of `seed + i`.
    """
    order = np.argsort([len(each) for each in drawings], kind="stable")  # so that few rows are padding
    found, places = [], []
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        part = [drawings[i] for i in rows]
        inputs = {"strokes": sketches.to_strokes5(part), "length": np.array([len(each) for each in part], "int32")}
        inputs["seed"] = seed + rows.astype("int64")
        if labels is not None:
            inputs["condition"] = labels[rows].astype("int64")
        made = {name: np.asarray(value) for name, value in score(**inputs).items()}
        if not made["valid"].all():
            wrong = rows[np.flatnonzero(~made["valid"])[0]]
            raise ValueError(f"Drawing {wrong} cannot be scored: it is out of the model's scale, or too long for it.")
        found.append(made | {"points": inputs["length"]})
        places.append(rows)
    back = np.argsort(np.concatenate(places))
    return {name: np.concatenate([each[name] for each in found])[back] for name in found[0]}


def summary(found, latent_dim, n_max):
    """Returns the means of `scores`, `{name: float}`.

    `reconstruction` and `kl` are the paper's L_R and L_KL (equations 9 and 10): sums of nats, divided by `n_max`, the
    rows of the longest training drawing, and by the size of the code. The others are nats:

    - `nats_per_sketch`: reconstruction and KL of a drawing with its end, a bound on -log p(x);
    - `..._masked`: the same without the term of the end, as the paper's program evaluates;
    - `reconstruction_per_point`: the masked sums, divided by the number of points.
    """
    masked = -(found["offsets"] + found["pen"]).astype("float64")
    whole, kl = masked - found["end"], found["kl"].astype("float64")
    made = {
        "reconstruction": whole.mean() / n_max,
        "reconstruction_masked": masked.mean() / n_max,
        "kl": kl.mean() / max(1, latent_dim),
        "nats_per_sketch": (whole + kl).mean(),
        "nats_per_sketch_masked": (masked + kl).mean(),
        "reconstruction_per_point": masked.sum() / found["points"].sum(),
        "kl_per_sketch": kl.mean(),
    }
    errors = {"nats_per_sketch": whole + kl, "kl_per_sketch": kl}
    errors = {
        f"{name}_standard_error": x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan
        for name, x in errors.items()
    }
    # Of a ratio of sums, by its linear approximation.
    apart = masked - made["reconstruction_per_point"] * found["points"]
    error = apart.std() / np.sqrt(len(apart)) / found["points"].mean()
    return made | errors | {"reconstruction_per_point_standard_error": error, "drawings": len(kl), "n_max": n_max}
