from __future__ import annotations

import pytest

from pipeline.errors import StoreError
from pipeline.store.manifest import Manifest, manifest_bytes, read_manifest, write_manifest


def test_a_manifest_names_inputs_versions_and_outcomes(tmp_path):
    manifest = Manifest(
        run="run-1",
        area="valley",
        science_digest="ab12",
        inputs=[{"id": "LC09_L2SP_190030_20240301_02_T1", "stamp": "20240309"}],
        days={"2024-03-01": "published"},
        timings={"fuse": 12.5},
    )
    write_manifest(tmp_path / "fused.zarr", "run-1", manifest.to_dict())
    found = read_manifest(tmp_path / "fused.zarr", "run-1")
    assert found["inputs"] == [{"id": "LC09_L2SP_190030_20240301_02_T1", "stamp": "20240309"}]
    assert found["days"] == {"2024-03-01": "published"}
    assert {"python", "numpy", "zarr", "torch"} <= set(found["versions"])
    with pytest.raises(StoreError, match="no manifest"):
        read_manifest(tmp_path / "fused.zarr", "run-2")


@pytest.mark.parametrize(
    "secret",
    [
        "https://account.blob.core.windows.net/c/B4.tif?st=2024&sig=Zm9v",
        "s3 https://b.s3.amazonaws.com/k?X-Amz-Signature=00ff",
        "https://user:pass@example.org/stac",
        "Authorization: Bearer abcdefghijkl",
        "https://example.org/a?collection=x&token=1",
    ],
)
def test_a_manifest_with_a_secret_is_refused_without_repeating_it(secret):
    with pytest.raises(StoreError) as refusal:
        manifest_bytes({"inputs": [{"href": secret}]})
    assert "inputs/0/href" in str(refusal.value)
    assert secret not in str(refusal.value)


def test_hrefs_and_words_without_secrets_pass():
    manifest_bytes(
        {"inputs": ["https://example.org/a.tif", "/data/a.tif", "s3://bucket/key"], "note": "a basic run, 3:4 @ noon", "token_count": 3}
    )
