"""Autoencoders that bound a likelihood."""
