"""One autoencoder on images: trained, measured beside PCA, drawn, exported. `python -m apps.quickstart`."""
