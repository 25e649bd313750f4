"""Embeds images in the plane by several methods, measures and draws them."""
