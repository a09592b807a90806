#!/usr/bin/env bash
# Index the demo set of IFSDAF (Liu et al. 2019) as a static STAC catalog beside the area file.
# Usage: index.sh [FOLDER OF THE DATA SET]      Another folder must also be written into allow: of area.yaml.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
data="${1:-${LANDFUSE_SHARED:-$here/../../../shared}/data/ifsdaf-ndvi-2015}"

# Nine dates of Landsat 8 NDVI, eight with their Fmask layer: one item per date.
landfuse catalog build "$data" --template 'LC8{path:3}{row:3}{date:%Y%j}LGN00_{asset}.tif' \
    --collection ifsdaf-landsat8-ndvi --crs EPSG:32649 --out "$here/catalog"

# One file of 23 bands, each a 16-day composite: one item per band, its datetime the middle day.
landfuse catalog build "$data" --template 'mod_ndvi_16day_{date:%Y}.tif' --step 16 --asset ndvi \
    --collection ifsdaf-modis-ndvi --crs EPSG:32649 --out "$here/catalog"
