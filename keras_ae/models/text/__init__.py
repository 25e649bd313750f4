"""Autoencoders of words."""
