"""Applications of keras_ae: `python -m apps.<app>.<verb>`."""
