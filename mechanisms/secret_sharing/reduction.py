"""The public basis in which prompts are compared (S6): it looks at no data."""

import numpy as np
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError


def public_basis(*, prompt_dimension: int, dimension: int, seed: int) -> Tensor:
    """float64[prompt_dimension, dimension]: orthonormal columns, uniformly drawn from the seed.

    A projection on it shortens every vector and every difference; on average squared distances
    shrink by dimension / prompt_dimension.

    Raises:
        ParameterError: dimension exceeds prompt_dimension.

    >>> basis = public_basis(prompt_dimension=32, dimension=4, seed=0)
    >>> torch.allclose(basis.T @ basis, torch.eye(4, dtype=torch.float64))
    True
    """
    check.count(prompt_dimension=prompt_dimension, dimension=dimension)
    if dimension > prompt_dimension:
        raise ParameterError(
            f"prompts of {prompt_dimension} numbers cannot be reduced to {dimension}: take a "
            "dimension of at most prompt_dimension, or give points."
        )
    draws = np.random.Generator(np.random.Philox(key=seed))
    gaussian = torch.from_numpy(draws.standard_normal((prompt_dimension, dimension)))
    basis, upper = torch.linalg.qr(gaussian)
    signed: Tensor = basis * upper.diagonal().sign()  # unique, and so the same for all clients
    return signed
