#!/usr/bin/env bash
# Unpack the L8NY18 scenes of gdalcubes and index them as a static STAC catalog, both in catalog/ beside the area file.
# Usage: index.sh [L8NY18.tar.gz]
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
archive="${1:-${LANDFUSE_SHARED:-$here/../../../shared}/data/gdalcubes-l8ny18/L8NY18.tar.gz}"

mkdir -p "$here/catalog"
tar xzf "$archive" -C "$here/catalog"
# Nineteen acquisitions, one folder each: {*} is the folder, which tells nothing that the file does not.
landfuse catalog build "$here/catalog/L8NY18" --template '{*}/LC08_L1TP_{path:3}{row:3}_{date:%Y%m%d}_{asset}.TIF' \
    --collection l8ny18 --out "$here/catalog"
