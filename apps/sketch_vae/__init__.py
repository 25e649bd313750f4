"""Drawings as sequences of strokes: train a model, evaluate it, draw."""
