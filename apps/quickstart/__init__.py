"""Trains an autoencoder on images, compares it with PCA, plots and exports it."""
