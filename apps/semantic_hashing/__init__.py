"""Semantic hashing: short binary codes for documents, learned without labels, and search by Hamming distance."""
