"""`Mpc` and `Opening`: a computation on secret shares, and what it opens."""

from dataclasses import dataclass
from typing import Literal

from ...accountant import check
from ...accountant.errors import ParameterError
from .sections import NoiseFrom, Schedule, View


@dataclass(frozen=True, kw_only=True)
class Opening:
    """[[mpc.opened]]: a value that is opened.

    Attributes:
        kind: "schedule": a number of rounds, iterations or clusters; `source` says who decides on
            it, as sampling.schedule does.
        to: "client": the one whose input it is about; "members" of its cluster; "server"; "all".
        per_client: how many such values about one client the reader gets in all.
        per_slice: the reader sees one value a slice, or the whole product polynomial.
        protected_by: the name of the noised [[release]] that stands between it and the inputs.
    """

    value: str
    kind: Literal["distance", "assignment", "size", "centre", "aggregate", "served", "schedule"]
    to: Literal["client", "members", "server", "all"]
    per_client: int = 0
    per_slice: bool = False
    protected_by: str | None = None
    source: Schedule = "not stated"
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check.whole(**{f"mpc.opened {self.value!r}: per_client": self.per_client})
        if self.kind != "schedule" and self.source != "not stated":
            raise ParameterError(
                f'mpc.opened {self.value!r}: source goes with kind = "schedule"; for a value '
                "computed from noise name its release in protected_by"
            )

        if self.per_slice and self.kind not in ("distance", "aggregate"):
            raise ParameterError(
                f"mpc.opened {self.value!r}: per_slice goes with products of shares, which are of "
                'kind "distance" or "aggregate"'
            )

    @property
    def readers(self) -> tuple[View, ...]:
        """Adversaries who read it besides the client that it is about."""
        found: dict[str, tuple[View, ...]] = {
            "client": (),
            "members": ("peer",),
            "server": ("server",),
            "all": ("server", "peer"),
        }
        return found[self.to]


@dataclass(frozen=True, kw_only=True)
class Mpc:
    """[mpc]: a computation on secret shares (polynomial sharing, degree slices + colluders - 1).

    Attributes:
        clients: how many take part; of these at most `colluders` pool what they see, and `dropouts`
            may be missing.
        prime: size of the field; numbers are rounded to 2^-fraction_bits.
        coordinate_bound: largest absolute value of one of `dimension` coordinates.
        masks: random numbers that hide the inputs: uniform in the "field", "real" or "reused".
        basis: of a dimension reduction.
        min_cluster: clusters below that size are dissolved before anything is opened.
        zero_sharing: a sharing of zero is added before a product is opened.
        headroom_checked: the code refuses to start if a value could wrap.
        membership_changes: clusters change between openings.
        byzantine: wrong shares are "checked" (Reed-Solomon), or "out-of-model".
        noise_from: who adds the noise of protected openings; whoever adds it can subtract it.
        noise_shares: so many clients' noise adds up to what the release declares.
        compared_with_dp: the text puts it on one axis with differential privacy.
    """

    clients: int
    slices: int
    colluders: int
    dropouts: int
    prime: int
    fraction_bits: int
    coordinate_bound: float
    dimension: int
    bound_source: Literal["not stated", "public", "noised", "private"] = "not stated"
    masks: Literal["not stated", "field", "real", "reused"] = "not stated"
    basis: Literal["not stated", "public", "pooled", "per-client"] = "not stated"
    min_cluster: int = 1
    zero_sharing: bool = False
    headroom_checked: bool = False
    membership_changes: bool = False
    byzantine: Literal["not stated", "out-of-model", "checked"] = "not stated"
    noise_from: NoiseFrom = "not stated"
    noise_shares: int | None = None
    compared_with_dp: bool = False
    opened: tuple[Opening, ...] = ()
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check.count(
            **{
                "mpc.clients": self.clients,
                "mpc.slices": self.slices,
                "mpc.colluders": self.colluders,
                "mpc.dimension": self.dimension,
                "mpc.min_cluster": self.min_cluster,
                "mpc.prime": self.prime,
            }
        )
        if self.noise_shares is not None:
            check.count(**{"mpc.noise_shares": self.noise_shares})
            if self.noise_from != "clients":
                raise ParameterError('mpc.noise_shares goes with mpc.noise_from = "clients"')
        check.whole(**{"mpc.dropouts": self.dropouts, "mpc.fraction_bits": self.fraction_bits})
        check.positive(**{"mpc.coordinate_bound": self.coordinate_bound})
        if self.min_cluster > self.clients:
            raise ParameterError(
                f"mpc.min_cluster is {self.min_cluster}, but there are {self.clients} clients"
            )
        if self.fraction_bits > 256:
            raise ParameterError(f"mpc.fraction_bits must be at most 256, not {self.fraction_bits}")
