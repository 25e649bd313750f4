"""Distributions over codes and data: likelihoods, posteriors, priors and sampling."""
