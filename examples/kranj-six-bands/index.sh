#!/usr/bin/env bash
# Index the Kranj demo set of the R package ImageFusion as a static STAC catalog beside the area file.
# Usage: index.sh [FOLDER OF THE DATA SET]      Another folder must also be written into allow: of area.yaml.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
data="${1:-${LANDFUSE_SHARED:-$here/../../../shared}/data/kranj-imagefusion}"
bands=(--band blue --band green --band red --band nir08 --band swir16 --band swir22)

# Four Landsat dates with real gaps, one file of six bands each.
landfuse catalog build "$data/landsat/unfilled" --template '{date:%Y%j}_{path:3}-{row:2}_kranj.tif' \
    --collection kranj-landsat "${bands[@]}" --out "$here/catalog"

# Twenty-six days of MODIS, resampled to the pixels of Landsat.
landfuse catalog build "$data/modis/filled" --template '{date:%Y%j}_{tile:5}_kranj.tif' \
    --collection kranj-modis "${bands[@]}" --out "$here/catalog"
