"""One autoencoder on images: trained, measured beside PCA, drawn, exported."""
