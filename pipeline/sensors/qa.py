"""From raw QA arrays to reasons: bit arithmetic on what a product says of its layers. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.sensors.product import Band, Layer, Product
from pipeline.vocabulary import Reason


def reasons(product: Product, layers: Mapping[str, np.ndarray], platform: str = "") -> np.ndarray:
    """Why pixels are not (only) clear observations, as the QA layers of a scene say.

    Fill and range of the bands themselves are not judged here.

    Parameters
    ----------
    product : Product
        Says what the bits and values of each layer mean.
    layers : mapping of str to integer array, all of one shape
        Raw QA by asset key. Layers the product does not know are ignored.
    platform : str, optional
        Platform of the scene, for layers whose bits differ between platforms.

    Returns
    -------
    ndarray of uint16
        `Reason` bits. Of shape ``()`` (no reason, broadcasts to any shape) when no known layer is given.

    Raises
    ------
    ValueError
        If a required layer is missing, or a layer does not hold whole numbers.
    """
    found: np.ndarray = np.zeros((), np.uint16)
    for layer in product.layers_of(platform):
        if layer.asset in layers:
            found = found | _reasons_of_layer(layer, np.asarray(layers[layer.asset]))
        elif layer.required:
            raise ValueError(f"QA layer {layer.asset!r} is required but only {sorted(layers)} were given")
    return found


def band_quality(band: Band, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels the band's own quality layer hides, and which it makes less certain.

    Parameters
    ----------
    band : Band
        Names the values.
    quality : integer array
        The layer named by ``band.quality_asset``.

    Returns
    -------
    drop, inflate : bool arrays of the shape of `quality`
    """
    if band.quality_bits is not None:
        first, width = band.quality_bits
        quality = (_unsigned(quality) >> first) & ((1 << width) - 1)
    return np.isin(quality, band.quality_drop), np.isin(quality, band.quality_inflate)


def _reasons_of_layer(layer: Layer, raw: np.ndarray) -> np.ndarray:
    if raw.dtype.kind not in "iu":
        raise ValueError(f"QA layer {layer.asset!r} was read as {raw.dtype}; read it as whole numbers, a float loses bits")
    unsigned = _unsigned(raw)
    found = np.zeros(raw.shape, np.uint16)
    for name, bits in layer.bits.items():
        found |= _flag(name, _masked(unsigned, sum(1 << bit for bit in bits)) != 0)
    for name, fields in layer.fields.items():
        for field in fields:
            number = _masked(unsigned >> field.first, (1 << field.width) - 1)
            found |= _flag(name, np.isin(number, field.values))
    for name, values in layer.values.items():
        found |= _flag(name, np.isin(raw, values))
    for name, ranges in layer.ranges.items():
        for low, high in ranges:
            found |= _flag(name, (raw >= low) & (raw <= high))
    return found


def _unsigned(raw: np.ndarray) -> np.ndarray:
    """The same bytes as an unsigned type: the top bit of a signed one cannot be masked with a positive number."""
    return raw.view(raw.dtype.str.replace("i", "u"))


def _masked(unsigned: np.ndarray, mask: int) -> np.ndarray:
    """The bits of `mask`; bits that the type does not have are never set."""
    return unsigned & unsigned.dtype.type(mask & np.iinfo(unsigned.dtype).max)


def _flag(name: str, where: np.ndarray) -> np.ndarray:
    return np.where(where, np.uint16(Reason[name]), np.uint16(0))
