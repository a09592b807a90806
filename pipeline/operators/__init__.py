"""Operators on rasters: area mean, lift, masked spatial means, blend. Tensors only."""
