"""One file per model, with the mathematics of that model and nothing else."""
