"""Shamir and Lagrange-coded sharing: any t shares say nothing, enough of them open the value.

K slices of a vector and t uniform masks are the values at beta_1..beta_(K+t) of a polynomial of
degree K+t-1; client j's share is its value at alpha_j. Sums of shares are shares of the sum;
products have twice the degree, so they need more replies. Source: Yu et al., arXiv:1806.00939
(Lagrange coding); Shamir, 1979, which is K = 1 with beta_1 = 0.
"""

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .field import PrimeField
from .masks import Source, uniform


def lagrange_weights(
    within: PrimeField, nodes: Sequence[int], at: Sequence[int]
) -> list[list[int]]:
    """Rows w with f(at) = sum_i w_i f(nodes_i) for every f of degree below len(nodes).

    >>> [[w - 10007 if w > 5003 else w for w in row] for row in
    ...  lagrange_weights(PrimeField(10007), [1, 2, 3, 4, 5], [0])]
    [[5, -10, 10, -5, 1]]
    """
    return [list(row) for row in _weights(within, tuple(nodes), tuple(at))]


@functools.lru_cache(maxsize=1024)  # public numbers, the same at every opening of a run
def _weights(
    within: PrimeField, nodes: tuple[int, ...], at: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    modulus = within.modulus
    if len({n % modulus for n in nodes}) != len(nodes):
        raise ParameterError(f"points must be distinct modulo {modulus}, but are {list(nodes)}")
    rows = []
    for x in at:
        row = []
        for i, own in enumerate(nodes):
            top = bottom = 1
            for j, other in enumerate(nodes):
                if j != i:
                    top = top * (x - other) % modulus
                    bottom = bottom * (own - other) % modulus
            row.append(top * within.inverse(bottom) % modulus)
        rows.append(tuple(row))
    return tuple(rows)


@dataclass(frozen=True, kw_only=True)
class LagrangeCode:
    """How vectors are shared among clients.

    Attributes:
        clients: N, the share holders.
        slices: K, pieces of a vector that one share carries together.
        colluders: t, how many share holders together learn nothing.
        dropouts: D, how many replies may be missing.
        products: whether shares are multiplied once before they are opened.
        within: the field.
        betas: points of the slices, then of the masks; default 1..K+t.
        alphas: points of the clients; default K+t+1..K+t+N.

    Raises:
        ParameterError: too many colluders or dropouts, or points that are not distinct.

    >>> LagrangeCode(clients=10, slices=2, colluders=2, dropouts=3).needed()
    7
    """

    clients: int
    slices: int = 1
    colluders: int = 1
    dropouts: int = 0
    products: bool = True
    within: PrimeField = field(default_factory=PrimeField)
    betas: tuple[int, ...] = ()
    alphas: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check.count(clients=self.clients, slices=self.slices, colluders=self.colluders)
        check.whole(dropouts=self.dropouts)
        width = self.slices + self.colluders
        if not self.betas:
            object.__setattr__(self, "betas", tuple(range(1, width + 1)))
        if not self.alphas:
            first = max(self.betas) + 1
            object.__setattr__(self, "alphas", tuple(range(first, first + self.clients)))
        if len(self.betas) != width or len(self.alphas) != self.clients:
            raise ParameterError(
                f"{width} betas and {self.clients} alphas are needed, but "
                f"{len(self.betas)} and {len(self.alphas)} were given"
            )
        if any(isinstance(x, bool) or not isinstance(x, int) for x in self.betas + self.alphas):
            raise ParameterError(
                f"betas and alphas must be whole numbers, but are {self.betas} and {self.alphas}"
            )
        points = [point % self.within.modulus for point in self.betas + self.alphas]
        if len(set(points)) != len(points):
            raise ParameterError(
                f"betas and alphas must be distinct modulo {self.within.modulus}: a share at a "
                f"beta is a secret itself. Given {self.betas} and {self.alphas}; take a larger "
                "prime or other points."
            )
        if self.needed() + self.dropouts > self.clients:
            formula = "2 (K+t-1) + 1" if self.products else "K + t"
            raise ParameterError(
                f"{formula} + dropouts must be at most the number of clients, but with K = "
                f"{self.slices}, t = {self.colluders} {self.needed()} replies are needed, plus "
                f"{self.dropouts} dropouts, of {self.clients} clients.\n  Lower slices, colluders "
                "or dropouts: a product of shares tolerates fewer than half of the clients."
            )

    @property
    def degree(self) -> int:
        """Degree of a shared polynomial."""
        return self.slices + self.colluders - 1

    def needed(self, *, product: bool | None = None) -> int:
        """Replies that open a product of two shares, or a share; default: as declared."""
        is_product = self.products if product is None else product
        return (2 if is_product else 1) * self.degree + 1

    def share(self, slices: Tensor, masks: Tensor) -> Tensor:
        """The clients' shares.

        Args:
            slices: int64[K, ...] field elements.
            masks: int64[t, ...], uniform, fresh, used nowhere else.

        Returns:
            int64[N, ...].

        Raises:
            ParameterError: other shapes, other types, or values outside 0..modulus-1.
        """
        if (
            not slices.ndim
            or slices.shape[0] != self.slices
            or masks.shape != (self.colluders, *slices.shape[1:])
        ):
            raise ParameterError(
                f"slices must be int64[{self.slices}, ...] and masks int64[{self.colluders}, ...] "
                f"of the same shape, but are {list(slices.shape)} and {list(masks.shape)}"
            )
        # Real masks are not uniform over anything (S8).
        self.within.check(slices, "slices")
        self.within.check(masks, "masks")
        weights = lagrange_weights(self.within, self.betas, self.alphas)
        return self.within.combine(weights, torch.cat([slices, masks.to(slices.device)]))

    def open(
        self, replies: Tensor, senders: Sequence[int], *, product: bool, at: Sequence[int] = ()
    ) -> Tensor:
        """Values at the slices' points, int64[K, ...], or at the points `at`.

        Replies beyond the needed ones must lie on the same polynomial: each one more detects one
        more wrong share.

        Args:
            replies: int64[R, ...], one per sender.
            senders: numbers 0..N-1 of the clients that replied.
            product: whether each reply is a product of two shares.
            at: where to evaluate; default the slices.

        Raises:
            ParameterError: too few replies, a sender twice or unknown, replies that are no field
                elements, or that contradict each other.
        """
        targets = [x % self.within.modulus for x in at or self.betas[: self.slices]]
        need = self.needed(product=product)
        return _opened(self.within, self.alphas, replies, senders, need=need, targets=targets)


def _opened(
    within: PrimeField,
    alphas: Sequence[int],
    replies: Tensor,
    senders: Sequence[int],
    *,
    need: int,
    targets: list[int],
) -> Tensor:
    """Values at `targets` of the polynomial of degree below `need` that all replies lie on."""
    try:
        numbers = [operator.index(s) for s in senders]
    except TypeError:
        raise ParameterError(f"senders must be whole numbers, but are {list(senders)}") from None
    if not replies.ndim or len(numbers) != replies.shape[0] or len(set(numbers)) != len(numbers):
        raise ParameterError(
            f"one reply per sender is needed, no sender twice; replies {list(replies.shape)} came "
            f"from {numbers}"
        )
    if any(not 0 <= s < len(alphas) for s in numbers):
        raise ParameterError(f"senders must be 0..{len(alphas) - 1}, but are {numbers}")
    if len(numbers) < need:
        raise ParameterError(
            f"{need} replies are needed to open, but {len(numbers)} came: the opening is "
            "aborted.\n  Wait for more clients, or plan with fewer slices or colluders."
        )
    within.check(replies, "replies")
    nodes = [alphas[s] for s in numbers]
    spare = nodes[need:]
    weights = lagrange_weights(within, nodes[:need], targets + spare)
    found = within.combine(weights, replies[:need])
    if spare and not bool((found[len(targets) :] == replies[need:]).all()):
        raise ParameterError(
            f"the {len(nodes)} replies do not lie on one polynomial of degree {need - 1}: some "
            "share is wrong.\n  `reed_solomon.wrong_senders` names up to (replies - "
            f"{need}) / 2 of them; leave those out or discard the round."
        )
    return found[: len(targets)]


@dataclass(frozen=True, kw_only=True)
class Shamir:
    """The secret is the value at 0 of a random polynomial; client j holds its value at j+1.

    The weights are small numbers, so it is faster than general points.

    Attributes:
        clients: number of share holders.
        colluders: t, how many together learn nothing; t+1 open.
        within: the field.

    >>> import torch
    >>> from .masks import SystemSource
    >>> scheme = Shamir(clients=10, colluders=4)
    >>> shares = scheme.share(torch.tensor([7, 8]), SystemSource())
    >>> scheme.reconstruct(shares[3:8], [3, 4, 5, 6, 7]).tolist()
    [7, 8]
    """

    clients: int
    colluders: int
    within: PrimeField = field(default_factory=PrimeField)

    def __post_init__(self) -> None:
        check.count(clients=self.clients, colluders=self.colluders)
        if self.colluders >= self.clients or self.clients >= self.within.modulus:
            raise ParameterError(
                f"colluders < clients < modulus is needed, but colluders is {self.colluders}, "
                f"clients {self.clients} and the modulus {self.within.modulus}"
            )

    def share(self, secrets: Tensor, source: Source) -> Tensor:
        """int64[clients, ...] of field elements int64[...].

        Raises:
            ParameterError: another type, or values outside 0..modulus-1.
        """
        self.within.check(secrets, "secrets")
        masks = uniform(source, self.within, self.colluders, *secrets.shape)
        coefficients = torch.cat([secrets[None], masks.to(secrets.device)])
        points = range(1, self.clients + 1)
        powers = [[x**k for k in range(self.colluders + 1)] for x in points]
        return self.within.combine(powers, coefficients)

    def reconstruct(self, shares: Tensor, senders: Sequence[int]) -> Tensor:
        """int64[...] from the shares int64[R, ...] of `senders`, R > colluders.

        Raises:
            ParameterError: too few shares, a sender twice or unknown, or shares that contradict.
        """
        alphas = range(1, self.clients + 1)
        need = self.colluders + 1
        return _opened(self.within, alphas, shares, senders, need=need, targets=[0])[0]
