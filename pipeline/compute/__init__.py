"""Blocks on Dask: what one task does, where it runs, and how many are in flight."""
