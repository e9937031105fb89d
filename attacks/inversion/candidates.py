"""What a prototype inversion looks at, and the records among which it must find the right one."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from ...fl_core.transcript import View


class Estimate(NamedTuple):
    """All that was seen of one mean feature vector, in one number per dimension.

    Attributes:
        mean: float64[trials, dim], unbiased.
        stddev: float64[dim], of its noise; 0 where one release had none.
    """

    mean: Tensor
    stddev: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenPrototypes:
    """Noisy prototypes of one class, in the units of a mean of features; one target per trial.

    Attributes:
        uploads: float64[trials, rounds, dim]: every release of the same mean.
        noise_stddevs: float64[rounds, dim]: the declared noise of each; 0 for none.

    Raises:
        DesignError: shapes contradict each other, or a number is not finite or a noise negative.
    """

    uploads: Tensor
    noise_stddevs: Tensor

    def __post_init__(self) -> None:
        if self.uploads.ndim != 3 or self.noise_stddevs.shape != self.uploads.shape[1:]:
            raise DesignError(
                "uploads must be float[trials, rounds, dim] and noise_stddevs float[rounds, dim], "
                f"but are {list(self.uploads.shape)} and {list(self.noise_stddevs.shape)}"
            )
        if 0 in self.uploads.shape:
            raise DesignError(f"nothing was seen: uploads have shape {list(self.uploads.shape)}")
        if not (torch.isfinite(self.uploads).all() and torch.isfinite(self.noise_stddevs).all()):
            raise DesignError("uploads and noise_stddevs must be finite")
        if bool((self.noise_stddevs < 0.0).any()):
            raise DesignError("noise_stddevs must be >= 0; give 0 where there is no noise")

    def combined(self) -> Estimate:
        """The mean of all rounds, each dimension weighted by its inverse variance.

        Rounds release the same mean under independent Gaussian noise, so this is sufficient:
        nothing that was seen is lost. Where a round has no noise, only such rounds count.
        """
        stddevs = self.noise_stddevs.double()
        quiet = stddevs.amin(dim=0)
        # Relative to the quietest round: no square of a tiny or huge number is taken.
        ratio = torch.where(stddevs > 0.0, quiet / stddevs.clamp(min=1e-300), 1.0)
        weights = ratio.square()
        total = weights.sum(dim=0)
        mean = (self.uploads.double() * weights).sum(dim=1) / total
        return Estimate(mean, quiet / total.sqrt())


def seen_prototypes(
    view: View, *, client: int, label: int, noise_stddevs: Tensor
) -> SeenPrototypes:
    """What the adversary of `view` saw of one class.

    Args:
        view: server: every upload of `client`; peer: every broadcast; outsider: the final one.
            Leading axes are replicas of the run, and each is a trial.
        client: row of the target; of no meaning to those who see no upload.
        label: the class.
        noise_stddevs: float64[dim], of one of these releases, as it was declared.
    """
    if view.uploads is not None:
        rows = view.uploads[..., client, label, :]
    elif view.broadcasts is not None:
        rows = view.broadcasts[..., label, :]
    else:
        rows = view.final[..., None, label, :]
    rows = rows.double().reshape(-1, *rows.shape[-2:])
    return SeenPrototypes(
        uploads=rows, noise_stddevs=noise_stddevs.double().expand(rows.shape[1], -1)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Who it could be: M records of a pool in each trial.

    Attributes:
        images: float[pool, 3, height, width] in [0, 1].
        features: float64[pool, dim]: what each record adds to a sum of features. Anyone can
            compute it: encoder, projection and clip are public.
        rows: int64[trials, M], into the pool.

    Raises:
        DesignError: shapes contradict each other, or a row is outside the pool.
    """

    images: Tensor
    features: Tensor
    rows: Tensor

    def __post_init__(self) -> None:
        pool = len(self.images)
        if self.images.ndim != 4 or self.features.ndim != 2 or len(self.features) != pool:
            raise DesignError(
                "images must be float[pool, 3, h, w] and features float[pool, dim], but are "
                f"{list(self.images.shape)} and {list(self.features.shape)}"
            )
        if self.rows.ndim != 2 or self.rows.dtype != torch.int64 or self.rows.numel() == 0:
            raise DesignError(f"rows must be int64[trials, M], but are {list(self.rows.shape)}")
        if bool(((self.rows < 0) | (self.rows >= pool)).any()):
            raise DesignError(f"rows must lie in 0..{pool - 1}, the pool of candidates")
