"""What SecFPP's guarantees need, defect by defect, and whether it holds."""

from typing import Literal, get_args

from ...accountant.assumption import Assumption
from .masks import Source
from .openings import Mode
from .setting import Setting

Basis = Literal["public", "pooled", "per_client"]
BASES: tuple[str, ...] = get_args(Basis)


def assumptions(
    mode: Mode,
    setting: Setting,
    *,
    basis: Basis,
    dissolves: bool,
    masks_openings: bool,
    honest: int | None,
    source: Source | None,
    points_given: bool | None = None,
) -> tuple[Assumption, ...]:
    """One assumption per defect S1-S13 that a declaration can decide, then those of the noise.

    Args:
        mode: of the run.
        setting: the public constants; constructing it checked its inequalities.
        basis: where the basis of the dimension reduction comes from.
        dissolves: whether small clusters are dissolved before prompts are opened.
        masks_openings: whether shares of zero are added to opened products.
        honest: clients whose noise is counted; None without noise.
        source: of the masks, if it is known.
        points_given: whether the caller of a run reduced the prompts; None if not known.
    """
    system = None if source is None else source.fingerprint == "system"
    needed = setting.code(products=True).needed()
    found = [
        ("S1", "Only inputs are hidden; opened values are listed.", "`openings`", True),
        (
            "S2",
            "No distances are opened to the server.",
            "the list of openings of the mode",
            mode != "as_described",
        ),
        (
            "S3, S4",
            "Of every opened sum at least two members are outside the coalition.",
            "every sum is noisy and accounted"
            if honest is not None
            else f"clusters below {setting.min_size} are dissolved before prompts are opened; "
            f"{setting.colluders} colluders need {setting.colluders + 2}"
            if dissolves
            else "clusters of any size are opened",
            honest is not None or (dissolves and setting.min_size >= setting.colluders + 2),
        ),
        (
            "S5",
            "Sums of different rounds do not isolate a client.",
            "every release is noisy and accounted"
            if honest is not None
            else "not checked: prompts change between rounds; see `exposure.differences`",
            None if honest is None else True,
        ),
        (
            "S6",
            "The basis of the dimension reduction is public.",
            *_basis(basis, points_given),
        ),
        (
            "S7",
            "No value wraps around the modulus.",
            f"largest squared distance {setting.distance_limit}, modulus "
            f"{setting.within.modulus}; checked before the run and at each opening",
            True,
        ),
        (
            "S7",
            "No mask is used twice.",
            "a store per session that refuses a second draw; source: "
            + (
                "unknown"
                if source is None
                else "fresh at every draw"
                if system
                else "seeded, for tests only: another run from the seed has the same masks"
            ),
            system,
        ),
        (
            "S8",
            "Masks are uniform over the field, from a cryptographic generator.",
            "int64 elements by rejection; source: "
            + ("unknown" if source is None else source.fingerprint),
            system,
        ),
        (
            "S9",
            "Enough replies open a product: 2 (K+t-1) + 1 + D <= N.",
            f"{needed} + {setting.dropouts} <= {setting.clients}",
            True,
        ),
        ("S10", "Server and clients follow the protocol.", "cannot be checked", None),
        ("S11", "A served personal prompt has its own mechanism.", "not part of this", None),
        (
            "S13",
            "An opened polynomial shows the intended value only.",
            "shares of zero are added" if masks_openings else "the product itself is opened",
            masks_openings,
        ),
    ]
    if honest is not None:
        found.append(
            (
                "DP",
                "Noise is exact: integers, added to contributions rounded first, modulo a prime.",
                "discrete Gaussian shares; clipped vectors are cut to the grid without getting "
                "longer, and the distance of the noise from a Gaussian, below 1e-60, is charged",
                True,
            )
        )
        found.append(
            (
                "DP",
                f"At least {honest} clients add their noise and keep it secret.",
                "declared by colluders and dropouts",
                None,
            )
        )
        found.append(
            (
                "DP",
                "A removed client still adds its noise: it contributes zeros.",
                "declared: who takes part in the network is public; the account holds under "
                "zero-out and replace-one and is refused under add-remove, where a client takes "
                "its noise with it",
                None,
            )
        )
    return tuple(Assumption(text=f"{n}: {t}", how=h, holds=v) for n, t, h, v in found)


def _basis(basis: Basis, points_given: bool | None) -> tuple[str, bool | None]:
    """How S6 is known, and whether it holds: True only of a basis that a run made itself."""
    if basis != "public":
        return f"declared: {basis}", False
    if points_given is None:
        return "declared: public; a run makes it from the public seed, unless given points", None
    if points_given:
        return "declared: public, but the caller gave points, in a basis that was not seen", False
    return "made by the run from the public seed", True
