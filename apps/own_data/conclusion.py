"""What is measured, drawn, exported and reported of a trained model."""

import contextlib
import math
import time

import numpy as np
import tensorflow as tf

import keras_ae as ka
from keras_ae import samplers, serving
from keras_ae.distributions import sampling
from keras_ae.evaluation import latent, likelihood
from keras_ae.utils import plain

from .. import common
from ..quickstart.evaluate import bound, export_error
from . import drawings, models, report, settings, source

ROWS = 2_000  # of each part that are measured at most, where all would take long
CODES = 10_000  # that samplers are fitted to
CONTAMINATION = 0.01  # share of the training rows above the threshold
WORST = 12


def conclude(model, rows, parts, pca, facts, folder, export_dir, start):
    """Measures, exports and draws; prints the report as JSON, and writes it and the page."""
    from .run import say  # imported here, as `run` imports this module

    seed = facts["seed"]
    say("Measuring")
    figures = {"data": facts["data"], "kind": facts["kind"], "seed": seed, "latent_dim": len(pca.axes)}
    figures |= {"rows": len(rows.x), "train": len(parts.train), "validation": len(parts.validation)}
    figures |= {"test": len(parts.test), "left_out": {reason: len(names) for reason, names in rows.left_out.items()}}
    figures |= {
        "duplicates": getattr(rows.x, "attributes", {}).get("duplicates", 0),
        "classes": source.class_counts(rows),
    }
    figures |= errors(model, rows, parts, pca) | density(model, rows, parts, seed)
    say("Fitting samplers")
    found, scores = best_sampler(model, rows, parts, seed)
    figures |= {"samplers": scores, "best_sampler": next(iter(scores), None)}
    threshold, worst = anomalies(model, rows, parts)
    figures |= {"threshold": threshold, "worst": worst}
    figures |= {"train_seconds": facts["train_seconds"], "settings": facts["settings"]}
    say("Exporting")
    card = {"data": facts["data"], "licence": "not known to this program: the terms of the data's owner apply"}
    card |= {"seed": seed, "command": common.command(), "schema": rows.schema, "threshold": threshold}
    card |= {"score": "squared error of the reconstruction", "sampler": figures["best_sampler"]}
    with common.user_input():
        path = ka.export(
            model, export_dir, endpoints=endpoints(model, found), card=card | {"numbers": plain.json_values(figures)}
        )
    figures["export"] = path
    if not model.conditional:
        figures["export_max_error"] = export_error(model, path, models.numbers(rows.x, parts.test[:16]), seed)
    common.keep(figures, folder)
    say("Drawing")
    with common.user_input():
        pictures = drawings.draw(model, rows, parts, pca, facts["history"], found, worst, seed)
        page = report.write(folder / "report.html", figures, pictures, rows, facts)
    figures |= {"page": str(page), "seconds": time.perf_counter() - start}
    say(f"Report: {page}")
    common.report(figures, folder)
    common.hint(f"keras-ae encode --model={export_dir} --data={facts['data']} --output=codes.parquet")


def given(model, rows, numbers):
    """Returns `(x, y)` or `(x,)`: some rows as the model's methods take them; without those whose label is unknown."""
    if not model.conditional:
        return (models.numbers(rows.x, numbers),)
    numbers = [i for i in numbers if rows.labels[i] >= 0]
    return models.numbers(rows.x, numbers), rows.labels[numbers]


def errors(model, rows, parts, pca):
    """Returns the squared errors of the model and of PCA, summed over a row, means over the parts."""
    made = {}
    for name, numbers in (("test", parts.test), ("train", parts.train[:ROWS])):
        ours, theirs = [], []
        for i in range(0, len(numbers), 500):
            args = given(model, rows, numbers[i : i + 500])
            if len(args[0]):
                ours.append(model.squared_error(*args))
                difference = pca.reconstruct(args[0]) - args[0]
                theirs.append(np.square(difference).reshape(len(difference), -1).sum(axis=1))
        made[f"{name}_squared_error"] = float(np.mean(np.concatenate(ours)))
        made[f"{name}_pca_squared_error"] = float(np.mean(np.concatenate(theirs)))
    base = made["test_pca_squared_error"]
    made["ratio_to_pca"] = made["test_squared_error"] / base if base > 0 else None
    return made


def density(model, rows, parts, seed):
    """Returns the ELBO of test rows in nats, and in bits per dimension for pictures; null where there is none."""
    nothing = dict.fromkeys(("elbo", "reconstruction", "kl", "bits_per_dimension", "active_units"))
    chosen = parts.test[:200]
    if "encoder" in model.parts and not model.conditional and len(parts.test) > 1:
        nothing["active_units"] = latent.active_units(model, models.numbers(rows.x, parts.test[:ROWS]))
    if "density" not in model.parts or model.conditional:
        return nothing
    x, levels = models.numbers(rows.x, chosen), 256
    if rows.x.dtype == np.uint8:
        rounded = isinstance(model._likelihood, ka.likelihoods.DiscretizedLogisticMixture)
        x, levels = (x, 1) if rounded else (likelihood.dequantise(rows.x[chosen], seed), 256)
    found = nothing | bound(model, x, seed)
    if rows.x.dtype == np.uint8 and not isinstance(model._likelihood, ka.likelihoods.Bernoulli):
        found["bits_per_dimension"] = float(likelihood.bits_per_dimension(found["elbo"], x.shape[1:], levels))
    return found


def best_sampler(model, rows, parts, seed):
    """Returns the sampler that gives codes of held-out rows the highest density, and `{name: nats}`, best first.

    The prior, a mixture of ten Gaussians, and, for enough rows, a flow; the latter two are fitted to codes of training
    rows. A conditional model has its prior.
    """
    if model.conditional or not {"encoder", "decoder"} <= model.parts:
        return None, {}
    fit, held_out = (codes(model, rows, each, seed) for each in (parts.train[:CODES], parts.test[:ROWS]))
    candidates = {}
    if hasattr(model, "prior"):
        candidates["prior"] = samplers.PriorSampler(model)
    components = min(10, len(fit) // 50)
    with contextlib.suppress(ValueError):  # too few or identical codes
        if components:
            name = f"mixture of {components} Gaussians" if components > 1 else "one Gaussian"
            candidates[name] = samplers.MixtureSampler(model, components, seed=seed).fit_codes(fit)
        if len(fit) >= settings.USABLE and fit.shape[1] > 1:
            candidates["flow"] = samplers.FlowSampler(model, seed=seed).fit_codes(fit, epochs=20, batch_size=200)
    scores = {name: float(np.mean(each.distribution().log_prob(held_out))) for name, each in candidates.items()}
    scores = {name: score for name, score in sorted(scores.items(), key=lambda pair: -pair[1]) if math.isfinite(score)}
    return candidates.get(next(iter(scores), None)), scores


def codes(model, rows, numbers, seed):
    """Returns codes drawn from the posteriors of some rows, or the codes themselves: `(N, D)`."""
    parts = []
    for i in range(0, len(numbers), 500):
        x = models.numbers(rows.x, numbers[i : i + 500])
        has_density = "density" in model.parts
        parts.append(latent.sample_codes(model, x, seed=seed + i) if has_density else model.encode(x))
    return np.concatenate(parts)


def anomalies(model, rows, parts):
    """Returns the threshold of the squared error at the contamination, and the worst rows: `[{"id", "score"}]`.

    The threshold is from held-out rows if there are 100, because a model knows its training rows by heart a little.
    """
    if model.conditional or "reconstruction" not in model.parts:
        return None, []
    held_out = np.concatenate([parts.validation, parts.test])
    numbers = (held_out if len(held_out) >= 100 else parts.train)[:ROWS]
    detector = ka.AnomalyDetector(model, CONTAMINATION, "reconstruction", standardize=False)
    detector.fit(models.numbers(rows.x, numbers), epochs=0)
    order = np.argsort(-detector.decision_scores_)[:WORST]
    worst = [
        {"id": rows.ids[numbers[i]], "row": int(numbers[i]), "score": float(detector.decision_scores_[i])}
        for i in order
    ]
    return detector.threshold_, worst


def endpoints(model, sampler):
    """Returns the model's endpoints, and `sample_best` if another density than its prior gives better codes."""
    made = serving.model_endpoints(model)
    if sampler is None or isinstance(sampler, samplers.PriorSampler):
        return made

    def sample(seed):
        return {"x": model.decode(sampling.draw_rows(sampler.distribution(), seed))}

    return made | {"sample_best": serving.Endpoint(sample, [tf.TensorSpec((None,), tf.int64, name="seed")])}
