"""What models share that bound log p(x) from below."""

from keras_ae.distributions import posteriors, priors


def check(model, prior):
    """Raises a `ValueError` unless the bound of a model, with the prior it was given or None, can be finite.

    q(z|x) must be a density of the prior's kind, over bits or over real numbers, and the prior must cover all codes.
    """
    posteriors.check_has_density(model._posterior, model.default_posterior)
    if prior is not None:
        over_bits = model.default_posterior == "bernoulli"
        (priors.check_covers_bits if over_bits else priors.check_covers_gaussians)(model.prior)
