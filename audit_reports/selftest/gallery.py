"""Which of 100 pictures of one class was the prototype made of? Releases, with their candidates.

Each trial draws a class, 100 private pictures of it as candidates, and by a fair draw the one that
is the target; other records of the mean, and the control's, are none of the candidates. The
candidates are exchangeable, so whoever has seen nothing is right once in 100, exactly, also with a
class-typical guess. Trials have fresh draws and fresh noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...accountant.errors import DesignError

if TYPE_CHECKING:
    from torch import Tensor

    from ...attacks.inversion.candidates import Candidates, SeenPrototypes
    from ...attacks.inversion.projection import PublicSpace
    from ...fl_core.projection import PublicProjection
    from ...mechanisms.base import Key, Mechanism

CANDIDATES = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Labelled pictures and a frozen encoder; of each class some are private, the rest public.

    Attributes:
        images: float[n, 3, height, width] in [0, 1]. labels: int64[n].
        private: int64[classes, p], rows of the private pictures. public: int64[rest], other rows.
        encode: pictures to float64[m, dim] projected features, differentiable; a clip comes after.
        features: float64[n, dim], `encode(images)`.
    """

    images: "Tensor"
    labels: "Tensor"
    private: "Tensor"
    public: "Tensor"
    encode: "Callable[[Tensor], Tensor]"
    features: "Tensor"

    @classmethod
    def of(
        cls,
        images: "Tensor",
        labels: "Tensor",
        raw: "Tensor",
        backbone: "Callable[[Tensor], Tensor]",
        *,
        private_per_class: int,
        dimensions: int,
    ) -> "Gallery":
        """Split by position in the class, and project `raw` features by those of public pictures.

        Args:
            images: float[n, 3, height, width] in [0, 1].
            labels: int64[n].
            raw: float32[n, dimension], `backbone(images)`.
            backbone: differentiable, the same as made `raw`.
            private_per_class: the first ones of each class.
            dimensions: of the projection.
        """
        import torch

        from ...fl_core import projection

        rows = [torch.nonzero(labels == label)[:, 0] for label in labels.unique()]
        public = torch.cat([own[private_per_class:] for own in rows])
        project = projection.fit(raw[public].numpy(), dimensions)
        return cls(
            images=images,
            labels=labels,
            private=torch.stack([own[:private_per_class] for own in rows]),
            public=public,
            encode=_projected(backbone, project),
            features=torch.from_numpy(project(raw.numpy())),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """Releases of prototypes, each with its candidates.

    Attributes:
        seen: what the server saw of the targets.
        control: what it would have seen of as many other private records of the same class.
        candidates: the same for both.
        truth: int64[trials], column of the target among the candidates.
        labels: int64[trials], the class.
        encode: what a picture adds to the sum: features, clipped. Differentiable.
    """

    seen: "SeenPrototypes"
    control: "SeenPrototypes"
    candidates: "Candidates"
    truth: "Tensor"
    labels: "Tensor"
    encode: "Callable[[Tensor], Tensor]"


def draw(
    gallery: Gallery,
    mechanism: "Mechanism",
    *,
    rounds: int,
    records: int,
    trials: int,
    key: "Key",
    empty: bool = False,
) -> Trials:
    """Independent trials of `mechanism`.

    Args:
        gallery: the pictures.
        mechanism: its public count must be `records`, so that it releases means.
        rounds: releases of the same mean.
        records: in the mean.
        trials: how many.
        key: of draws and noise.
        empty: release noise only, for the control that must be at chance.

    Raises:
        DesignError: too few private pictures, or another public count.
    """
    import torch

    from ...attacks.inversion.candidates import Candidates, SeenPrototypes

    needed, held = CANDIDATES + 2 * records - 1, gallery.private.shape[1]
    if held < needed or mechanism.public_count != records:
        raise DesignError(
            f"{needed} private pictures a class are needed and a public count of {records}, but "
            f"there are {held} and {mechanism.public_count}"
        )
    rng = key.child("draws").generator()
    classes = torch.from_numpy(rng.integers(len(gallery.private), size=trials))
    order = torch.from_numpy(rng.permuted(torch.arange(held).expand(trials, -1).numpy(), axis=1))
    rows = gallery.private[classes].gather(1, order)[:, :needed]
    truth = torch.from_numpy(rng.integers(CANDIDATES, size=trials))
    target = rows.gather(1, truth[:, None])
    mine = torch.cat([target, rows[:, CANDIDATES : CANDIDATES + records - 1]], dim=1)
    others = rows[:, CANDIDATES + records - 1 :]
    stddevs = declared_noise(mechanism).expand(rounds, -1)

    def release(members: "Tensor", name: str) -> SeenPrototypes:
        labels = torch.zeros(members.shape, dtype=torch.int64)
        means = mechanism.statistic(gallery.features[members], labels, 1)
        means = torch.zeros_like(means) if empty else means
        copies = means.expand(-1, rounds, -1)  # one class becomes the rounds
        noisy = mechanism.perturb(copies, key.child("noise", name))
        return SeenPrototypes(uploads=noisy, noise_stddevs=stddevs)

    return Trials(
        seen=release(mine, "target"),
        control=release(others, "control"),
        candidates=Candidates(
            images=gallery.images,
            features=mechanism.contribution(gallery.features),
            rows=rows[:, :CANDIDATES],
        ),
        truth=truth,
        labels=classes,
        encode=lambda images: mechanism.contribution(gallery.encode(images)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Public:
    """What an adversary has of the public pictures, for one mechanism.

    Attributes:
        images: float[n, 3, height, width]. labels: int64[n].
        features: float64[n, dim], clipped as the mechanism clips.
        space: of these features.
        stddev: float64[dim], noise of the mean of all rounds.
    """

    images: "Tensor"
    labels: "Tensor"
    features: "Tensor"
    space: "PublicSpace"
    stddev: "Tensor"

    @classmethod
    def of(cls, gallery: Gallery, mechanism: "Mechanism", *, rounds: int) -> "Public":
        """The public part of `gallery`, as `mechanism` would treat it in so many rounds."""
        from ...attacks.inversion import projection

        features = mechanism.contribution(gallery.features[gallery.public])
        return cls(
            images=gallery.images[gallery.public],
            labels=gallery.labels[gallery.public],
            features=features,
            space=projection.fit(features),
            stddev=declared_noise(mechanism) / rounds**0.5,
        )


def declared_noise(mechanism: "Mechanism") -> "Tensor":
    """float64[dim]: standard deviation in each dimension of one release."""
    import torch

    stddevs = torch.tensor(mechanism.noise_stddevs, dtype=torch.float64)
    return torch.repeat_interleave(stddevs, torch.tensor(mechanism.group_sizes))


def _projected(
    backbone: "Callable[[Tensor], Tensor]", project: "PublicProjection"
) -> "Callable[[Tensor], Tensor]":
    import torch

    centre, directions = torch.from_numpy(project.centre), torch.from_numpy(project.directions)
    return lambda images: (backbone(images).double() - centre) @ directions / project.scale
