"""Checks shared by models that maximise a lower bound on log p(x)."""

import keras

from keras_ae.distributions import posteriors, priors


def check(model: keras.Model, prior: priors.PriorLike | None) -> None:
    """Checks that the model's bound can be finite; `prior` is the one passed by the user, or None.

    q(z|x) must have a density of the same kind as the prior's (over bits or over real numbers), and the prior's support
    must cover all codes.

    Raises:
        ValueError: if it cannot.

    Example: `check(vae, None)`

    See also: `posteriors.check_has_density`, `priors.check_covers_gaussians` and `priors.check_covers_bits`, its parts.
    """
    posteriors.check_has_density(model._posterior, model.default_posterior)
    if prior is not None:
        over_bits = model.default_posterior == "bernoulli"
        (priors.check_covers_bits if over_bits else priors.check_covers_gaussians)(model.prior)
