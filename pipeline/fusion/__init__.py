"""Fusion methods: one interface, a registry that imports no torch, one file per method."""
