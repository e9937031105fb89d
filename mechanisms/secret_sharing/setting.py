"""The public constants of a SecFPP run, and the inequalities that they must meet."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .field import PrimeField
from .fixed_point import FixedPoint, distance_limit, require_headroom, sum_limit
from .lagrange import LagrangeCode
from .masks import MaskStore, Source
from .session import Session


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All of it is fixed before the run and known to everybody.

    Attributes:
        clients: N, of which all take part.
        dimension: d', of a reduced prompt.
        prompt_dimension: of a cluster prompt.
        slices: K.
        colluders: t.
        dropouts: D, replies that may be missing at an opening.
        clusters: S, at most.
        iterations: I, distance computations of one clustering.
        min_size: members that a cluster needs before its prompt is opened; default `least_size`.
        points: encoding of reduced prompts.
        prompts: encoding of prompts.
        within: the field.

    Raises:
        ParameterError: an inequality fails; the message names it.

    >>> Setting(clients=10, dimension=16, prompt_dimension=8).min_size
    4
    """

    clients: int
    dimension: int
    prompt_dimension: int
    slices: int = 2
    colluders: int = 2
    dropouts: int = 0
    clusters: int = 4
    iterations: int = 5
    min_size: int = 0
    points: FixedPoint = FixedPoint()
    prompts: FixedPoint = FixedPoint()
    within: PrimeField = field(default_factory=PrimeField)

    def __post_init__(self) -> None:
        check.count(
            clients=self.clients,
            dimension=self.dimension,
            prompt_dimension=self.prompt_dimension,
            clusters=self.clusters,
            iterations=self.iterations,
        )
        check.whole(min_size=self.min_size)
        if 2 * self.colluders >= self.clients:
            raise ParameterError(
                f"colluders must be fewer than half of the clients, but {self.colluders} of "
                f"{self.clients} were given: distances are products of shares, of twice the degree."
            )
        self.code(products=True)
        if self.min_size == 0:
            object.__setattr__(self, "min_size", self.least_size)
        if self.min_size > self.clients:
            raise ParameterError(
                f"min_size must be at most the {self.clients} clients, but is {self.min_size}"
            )
        require_headroom(
            self.within.modulus,
            distances=self.distance_limit,
            sums=sum_limit(clients=self.clients, magnitude=self.points.magnitude),
            prompts=self.prompt_limit,
        )

    @property
    def least_size(self) -> int:
        """max(3, t + 2): t colluding members then see the sum of at least two others."""
        return max(3, self.colluders + 2)

    @property
    def distance_limit(self) -> int:
        """Largest squared distance n^2 d^2 in units of 4^-bits."""
        return distance_limit(
            clients=self.clients, dimension=self.dimension, magnitude=self.points.magnitude
        )

    @property
    def prompt_limit(self) -> int:
        """Largest coordinate of a sum of prompts in units of 2^-bits."""
        return sum_limit(clients=self.clients, magnitude=self.prompts.magnitude)

    def code(self, *, products: bool) -> LagrangeCode:
        """The sharing; raises where the number of replies is not enough."""
        return LagrangeCode(
            clients=self.clients,
            slices=self.slices,
            colluders=self.colluders,
            dropouts=self.dropouts,
            products=products,
            within=self.within,
        )

    def session(
        self, source: Source, *, senders: Sequence[int] | None = None, products: bool = True
    ) -> Session:
        """A session with fresh masks."""
        return Session(self.code(products=products), MaskStore(source, self.within), senders)

    def clipped(self, rows: Tensor, bound: float) -> Tensor:
        """float64 rows, each coordinate within +-bound; a row that is not finite becomes zero.

        A NaN that got through would show that its client took part.
        """
        wide = rows.to(torch.float64)
        finite = torch.isfinite(wide).all(dim=-1, keepdim=True)
        return torch.where(finite, wide, 0.0).clamp(-bound, bound)

    def point_codes(self, points: Tensor) -> Tensor:
        """int64[N, d'] of the clipped reduced prompts float[N, d'].

        Raises:
            ParameterError: another shape, or no floating-point numbers.
        """
        rows = self.checked_rows("points", points, self.dimension)
        return self.points.quantise(self.clipped(rows, self.points.bound))

    def prompt_codes(self, prompts: Tensor) -> Tensor:
        """int64[N, prompt_dimension] of the clipped prompts; raises as `point_codes`."""
        rows = self.checked_rows("prompts", prompts, self.prompt_dimension)
        return self.prompts.quantise(self.clipped(rows, self.prompts.bound))

    def checked_rows(self, name: str, rows: Tensor, width: int) -> Tensor:
        """`rows`, if they are float[N, width]."""
        if not rows.is_floating_point() or rows.shape != (self.clients, width):
            raise ParameterError(
                f"{name} must be float[{self.clients}, {width}], but are {rows.dtype} "
                f"{list(rows.shape)}"
            )
        return rows

    def checked_senders(self, senders: Sequence[int] | None, *, needed: int) -> list[int]:
        """Who replies: at least `needed` different clients; all if `senders` is None.

        Raises:
            ParameterError: a number twice or unknown, or too few.
        """
        found = list(range(self.clients)) if senders is None else list(senders)
        if len(set(found)) != len(found) or not set(found) <= set(range(self.clients)):
            raise ParameterError(
                f"senders must be different numbers in 0..{self.clients - 1}, but are {found}"
            )
        if len(found) < needed:
            raise ParameterError(
                f"{needed} replies are needed in this round, but only {len(found)} of "
                f"{self.clients} clients reply. Nothing was opened and the round is not spent.\n"
                "  Repeat it with more clients, or declare more dropouts before the run."
            )
        return found
