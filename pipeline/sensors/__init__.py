"""What is known of each sensor and product: bands, scale, fill, QA, support, spellings.

Knowledge is data: `products.yaml` beside this file holds the built-in products, an
area file may declare more of the same form. Nothing here reads pixels or catalogs.
"""

from pipeline.sensors.product import Band, BitField, Layer, Product, Support, builtin_products

__all__ = ["Band", "BitField", "Layer", "Product", "Support", "builtin_products"]
