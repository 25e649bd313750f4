"""Autoencoders with a deterministic code."""
