"""Distributions of codes and data: likelihoods, posteriors, priors, and how they are sampled."""
