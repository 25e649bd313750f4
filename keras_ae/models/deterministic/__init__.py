"""Autoencoders whose code is a point."""
