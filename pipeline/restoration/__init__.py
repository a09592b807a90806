"""Restoration of the coarse series: gaps filled, sensor bias removed. Tensors only."""
