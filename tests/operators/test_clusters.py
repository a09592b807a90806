"""Classes of pixels."""

from __future__ import annotations

import torch

from pipeline.operators.clusters import cluster_centres, nearest_centre


def test_separate_clusters_are_found_wherever_their_pixels_lie():
    truth = torch.tensor([[0.1, 0.1], [0.3, 0.1], [0.2, 0.5]])
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (4000,), generator=generator)
    values = truth[label] + 0.01 * torch.randn((4000, 2), generator=generator)
    centres = cluster_centres(values, 3)
    nearest = torch.cdist(truth, centres).min(dim=1)
    assert nearest.values.max() < 0.002
    assert sorted(nearest.indices.tolist()) == [0, 1, 2]
    assert torch.equal(centres, cluster_centres(values, 3))


def test_fewer_values_than_classes_leave_no_hole():
    assert torch.isfinite(cluster_centres(torch.tensor([[0.1], [0.4]]), 5)).all()
    assert torch.isfinite(cluster_centres(torch.full((100, 2), 0.3), 4)).all()


def test_a_pixel_belongs_to_the_nearest_centre_and_of_two_to_the_first():
    image = torch.tensor([[[0.0, 0.5], [1.0, 0.4]]])
    assert nearest_centre(image, torch.tensor([[0.0], [1.0]])).tolist() == [[0, 0], [1, 0]]
