"""How networks are trained: samples, losses, the loop, checkpoints, logs and model cards."""
