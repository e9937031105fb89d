"""pFedPrompt: one context for all, averaged, and a memory of its own records for each client.

The context is learned as in PromptFL. A client adds to its scores what its own records say: the sum
over them of exp(-sharpness (1 - cosine)) on the record's class, times a weight. Nothing of that is
trained, and no record leaves its client; but whoever gets the served model has the records.
Source: Guo, Guo & Wang, WWW 2023, doi:10.1145/3543507.3583518. The attention and its constants are
those of Tip-Adapter (Zhang et al., arXiv:2207.09519; configs/imagenet.yaml of its public code).

Written from descriptions: neither text nor code of the publication was at hand. Known to differ:
the context is trained on the scores of the prompt alone. With the memory in its loss a record's
gradient would depend on all records of the client, and clipping would bound nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...accountant import check
from ..clients import ClientData
from ..kernels.base import Outputs, Params
from ..kernels.prompts import Prompts

WEIGHT, SHARPNESS = 1.17, 1.0
_CLIP_SCALE = 100.0  # of the cosines beside which that weight was chosen


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptsWithMemory(Prompts):
    """Trained as `Prompts`; predicts with what `memory` gives beside the parameters.

    Attributes:
        weight: of the memory's scores where cosines count 100 times, as in CLIP, > 0; public.
            Beside smaller logits it counts as much less.
        sharpness: of the attention, > 0; public.
    """

    weight: float = WEIGHT
    sharpness: float = SHARPNESS

    def __post_init__(self) -> None:
        super().__post_init__()
        check.positive(weight=self.weight, sharpness=self.sharpness)

    def outputs(self, params: Params, x: Tensor) -> Outputs:
        """Scores of prompts and memory; x is float[rows, batch, dim]."""
        plain = super().outputs({name: params[name] for name in self.shapes()}, x)
        weight = self.weight * self.scale / _CLIP_SCALE
        return Outputs(plain.features, plain.logits + weight * self.attention(params, x))

    def attention(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """float[rows, batch, classes]: what the records in memory say of x."""
        cosines = torch.nn.functional.normalize(x, dim=-1) @ params["keys"].mT
        return (self.sharpness * (cosines - 1.0)).exp() @ params["values"]


def memory(data: ClientData, classes: int) -> Params:
    """Each client's records as they are; zeros where a client holds less than another, or nothing.

    Returns:
        `keys`, float[rows, longest, dim], of length 1; `values`, float[rows, longest, classes],
        one-hot.
    """
    places = torch.arange(data.index.shape[1], device=data.index.device)
    held = (places < data.lengths.unsqueeze(1)).unsqueeze(-1)
    keys = torch.nn.functional.normalize(data.x[data.index], dim=-1)
    values = torch.nn.functional.one_hot(data.y[data.index], classes).to(keys)
    zero = keys.new_zeros(())
    return {"keys": keys.where(held, zero), "values": values.where(held, zero)}
