"""Autoencoders with a critic."""
