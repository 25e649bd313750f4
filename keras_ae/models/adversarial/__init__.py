"""Autoencoders trained against a critic."""
