"""One network per file: reflectance in, reflectance out; what weights are kept in, and how big arrays go through in tiles."""
