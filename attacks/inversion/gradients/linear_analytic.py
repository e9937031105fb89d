"""A linear layer gives its input away: the gradient of its weights is input times output gradient.

With one record, every column of the weight's gradient is the input times the bias' gradient of
that unit, so that their ratio is the record, exactly. With more records a column is a mixture;
units that one record alone switched on still give it exactly. Source: Phong et al.,
doi:10.1109/TIFS.2017.2787987, section 3; for batches Boenisch et al., arXiv:2112.02918.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .view import GradientView


@dataclass(frozen=True, kw_only=True)
class LinearAnalytic:
    """The input of a linear layer with a bias, from the gradients of both.

    Attributes:
        layer: its name; the gradients `layer.weight`, float[in, out], and `layer.bias` are used.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = ("each client's gradient or update", "the model it sent")
    cost: ClassVar[str] = "none: one division"
    source: ClassVar[str] = "doi:10.1109/TIFS.2017.2787987, section 3; arXiv:2112.02918"
    layer: str = "1"

    def reconstruct(self, view: GradientView) -> Tensor:
        """float64[trials, in]: the record, if there is one; else the inputs' weighted mean.

        Least squares over all units, so that noise on the gradient is averaged. Zero where the
        gradient of the bias is zero: nothing was seen.
        """
        weight, bias = self._seen(view)
        size = bias.square().sum(dim=1, keepdim=True)
        found = (weight @ bias.unsqueeze(2)).squeeze(2) / size
        return torch.where(size > 0, found, 0.0)

    def by_unit(self, view: GradientView) -> Tensor:
        """float64[trials, out, in]: the ratio of each unit; NaN for one without a gradient.

        In a batch, the unit that one record alone switched on shows this record exactly.
        """
        weight, bias = self._seen(view)
        return (weight / torch.where(bias == 0, torch.nan, bias).unsqueeze(1)).mT

    def score(self, view: GradientView, candidates: Tensor) -> Tensor:
        """float64[trials, M]: how much of the gradient one record explains.

        The likelihood ratio of "this input, any output gradient" under isotropic noise, up to a
        positive factor. For one record without noise only the true one explains everything.

        Args:
            view: what was seen.
            candidates: float[trials, M, in], inputs of the layer.
        """
        weight, bias = self._seen(view)
        inputs = candidates.double()
        output = inputs @ weight + bias.unsqueeze(1)  # the output gradient times |input|^2 + 1
        return output.square().sum(dim=2) / (inputs.square().sum(dim=2) + 1.0)

    def _seen(self, view: GradientView) -> tuple[Tensor, Tensor]:
        return view.matrix(f"{self.layer}.weight"), view.matrix(f"{self.layer}.bias").flatten(1)
