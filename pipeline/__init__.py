"""landfuse: daily seamless Landsat-like images from Landsat and MODIS.

The rooms of the package, and which may import which, are described in
``docs/architecture.md``; the tests hold the code to it.
"""

__version__ = "0.1.0"
