"""Screening: which clear-flagged fine pixels are contaminated after all. Tensors only; in front of every method."""
