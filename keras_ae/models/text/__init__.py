"""Autoencoders for text."""
