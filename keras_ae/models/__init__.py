"""One file a model; each shows its own mathematics and nothing else."""
