"""Which shares are wrong: e of them are found from 2 (K+t-1) + 1 + 2 e replies.

Malicious clients are outside SecFPP's claim; this is the optional check (S10). Source: Welch &
Berlekamp, 1986 (US patent 4,633,470, expired); Gao, 2003.
"""

import secrets
from collections.abc import Sequence

from torch import Tensor

from ...accountant.errors import ParameterError
from .lagrange import LagrangeCode


def wrong_senders(
    code: LagrangeCode, replies: Tensor, senders: Sequence[int], *, product: bool
) -> list[int]:
    """Senders whose reply differs from the polynomial that nearly all lie on.

    A random combination of a sender's numbers stands for its reply: a wrong reply passes with
    probability 1/modulus.

    Args:
        code: how the values were shared.
        replies: int64[R, ...].
        senders: their numbers.
        product: whether each reply is a product of two shares.

    Raises:
        ParameterError: more wrong replies than (R - needed) / 2, so that nobody can name them.

    >>> import torch
    >>> code = LagrangeCode(clients=10, slices=1, colluders=1)
    >>> replies = code.share(torch.tensor([[5]]), torch.tensor([[9]]))
    >>> replies[4] += 1
    >>> wrong_senders(code, replies, range(10), product=False)
    [4]
    """
    modulus, need = code.within.modulus, code.needed(product=product)
    flat = replies.reshape(replies.shape[0], -1).tolist()
    mix = [secrets.randbelow(modulus) for _ in flat[0]]
    values = [sum(w * v for w, v in zip(mix, row, strict=True)) % modulus for row in flat]
    points = [code.alphas[s] % modulus for s in senders]
    most = (len(points) - need) // 2
    for errors in range(max(most, -1), -1, -1):
        # Q(x) = y E(x), E monic of degree `errors`, Q of degree errors + need - 1.
        system = [
            [pow(x, k, modulus) for k in range(errors + need)]
            + [-y * pow(x, k, modulus) % modulus for k in range(errors)]
            + [y * pow(x, errors, modulus) % modulus]
            for x, y in zip(points, values, strict=True)
        ]
        found = _solve(system, modulus)
        if found is None:
            continue
        locator = [*found[errors + need :], 1]
        wrong = [
            s
            for s, x in zip(senders, points, strict=True)
            if sum(c * pow(x, k, modulus) for k, c in enumerate(locator)) % modulus == 0
        ]
        kept = [i for i, s in enumerate(senders) if s not in wrong]
        code.open(replies[kept], [senders[i] for i in kept], product=product)  # raises if not so
        return wrong
    raise ParameterError(
        f"of {len(points)} replies more than {max(most, 0)} are wrong (degree {need - 1}): the "
        "wrong ones cannot be named. Discard the round, or plan with more replies."
    )


def _solve(system: list[list[int]], modulus: int) -> list[int] | None:
    """A solution of the augmented linear system modulo a prime; free unknowns are 0."""
    rows, columns = [list(row) for row in system], len(system[0]) - 1
    pivots: list[int] = []
    for column in range(columns):
        top = len(pivots)
        pivot = next((i for i in range(top, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[top], rows[pivot] = rows[pivot], rows[top]
        inverse = pow(rows[top][column], -1, modulus)
        rows[top] = [v * inverse % modulus for v in rows[top]]
        for i, row in enumerate(rows):
            if i != top and row[column]:
                factor = row[column]
                rows[i] = [(a - factor * b) % modulus for a, b in zip(row, rows[top], strict=True)]
        pivots.append(column)
    if any(row[columns] for row in rows[len(pivots) :]):
        return None
    solution = [0] * columns
    for row, column in zip(rows, pivots, strict=False):
        solution[column] = row[columns]
    return solution
