"""Autoencoders trained on a bound on the log-likelihood."""
