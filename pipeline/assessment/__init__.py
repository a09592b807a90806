"""How good the images are: exact metrics, scores against simulated truth and withheld images, tables that name the controls."""
