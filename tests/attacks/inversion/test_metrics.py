import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from privassay.accountant.errors import ParameterError
from privassay.attacks.inversion.metrics import psnr, quality
from privassay.attacks.inversion.perceptual import feature_maps, perceptual_distance
from privassay.attacks.inversion.similarity import ssim
from privassay.fl_core.models.backbone import load_backbone


def pictures(count=4, size=(20, 16), seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(20, 16), (11, 11), (33, 12)])
def test_ssim_is_that_of_scikit_image(size):
    first = pictures(size=size)
    others = torch.cat([pictures(size=size, seed=1)[:2], (0.8 * first[2:] + 0.1)])
    found = ssim(first, others)
    for i in range(4):
        wanted = structural_similarity(
            first[i].double().numpy(),
            others[i].double().numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert abs(float(found[i]) - wanted) < 1e-6, (i, float(found[i]), wanted)


def test_ssim_is_symmetric_and_one_for_equal_pictures():
    first, second = pictures(), pictures(seed=1)
    torch.testing.assert_close(ssim(first, second), ssim(second, first))
    torch.testing.assert_close(ssim(first, first), torch.ones(4).double())
    assert float(ssim(first, second).max()) < 0.3
    with pytest.raises(ParameterError, match="at least 11 x 11"):
        ssim(first[..., :10], second[..., :10])
    with pytest.raises(ParameterError, match="equal shapes"):
        ssim(first, second[:3])


def test_psnr_of_all_pairs_equals_the_loop():
    first, second = pictures(3), pictures(5, seed=1)
    found = psnr(first, second)
    for i in range(3):
        for j in range(5):
            mse = np.mean((first[i].numpy() - second[j].numpy()).astype(float) ** 2)
            assert float(found[i, j]) == pytest.approx(-10 * np.log10(mse), rel=1e-6)


def test_quality_compares_pair_by_pair():
    first, second = pictures(), pictures(seed=1)

    def encode(images):
        return images.double().mean(dim=(2, 3)) - 0.5

    found = quality(first, second, encode)
    torch.testing.assert_close(found.psnr, psnr(first, second).diagonal())
    torch.testing.assert_close(found.ssim, ssim(first, second))
    a, b = encode(first)[2].numpy(), encode(second)[2].numpy()
    assert float(found.cosine[2]) == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    with pytest.raises(ParameterError, match="one record per reconstruction"):
        quality(first, second[:2], encode)


class Layers(torch.nn.Module):
    """Two maps of one size, then one of half the size; what is kept is the last of each."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.second = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.ReLU())
        self.third = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1)

    def forward(self, x):
        self.kept = self.second(self.first(x))
        self.small = self.third(self.kept)
        return self.small.mean(dim=(2, 3))


def test_maps_are_the_last_of_each_size_and_the_distance_follows_from_them():
    from dataclasses import replace

    torch.manual_seed(0)
    net = Layers().requires_grad_(False)
    backbone = replace(load_backbone("pixels", image_size=16), network=net, dimension=6)
    first, second = pictures(size=(16, 16)), pictures(size=(16, 16), seed=1)
    maps = feature_maps(backbone, first)
    assert [tuple(m.shape) for m in maps] == [(4, 4, 16, 16), (4, 6, 8, 8)]
    assert torch.equal(maps[0], net.kept) and torch.equal(maps[1], net.small)
    wanted = 0.0
    for a, b in zip(maps, feature_maps(backbone, second), strict=True):  # the loop
        a, b = a.double()[0], b.double()[0]
        gap = 0.0
        for row in range(a.shape[1]):
            for column in range(a.shape[2]):
                u, v = a[:, row, column], b[:, row, column]
                gap += float((u / (u.norm() + 1e-10) - v / (v.norm() + 1e-10)).square().sum())
        wanted += gap / (a.shape[1] * a.shape[2]) / 2
    found = perceptual_distance(backbone, first, second)
    assert float(found[0]) == pytest.approx(wanted, rel=1e-6)
    assert perceptual_distance(backbone, first, first).abs().max() == 0.0
    backbone.encode(first)  # the hook is gone: nothing more is kept
    assert torch.equal(maps[0], feature_maps(backbone, first)[0])


def test_a_backbone_without_maps_is_refused():
    with pytest.raises(ParameterError, match="no feature maps"):
        perceptual_distance(load_backbone("pixels"), pictures(), pictures())
    with pytest.raises(ParameterError, match="equal shapes"):
        perceptual_distance(load_backbone("pixels"), pictures(), pictures(3))
