"""VPDR as released, declared in the format of docs/lint.md from the parameters of the object."""

from typing import TYPE_CHECKING, Any

from .vpdr_defects import defects

if TYPE_CHECKING:  # the mechanism imports this module
    from .vpdr import AsReleasedVpdr

_DATA = "class records"


def declaration(
    system: "AsReleasedVpdr", *, count: int, dimension: int, native: int
) -> dict[str, Any]:
    """The declaration of one class of `count` records, as nested dicts."""
    frozen, legacy = system.frozen_encoder, system.generation == "legacy"
    claim: dict[str, Any] = {
        "epsilon": system.epsilon,
        "delta": system.delta,
        "unit": "example",
        "trust": "local-noise",
        "views": ["server"],
        "covers": f"noisy per-class prototypes of all {system.rounds} rounds"
        + (", and the noisy choice of the dimension group" if system.scheme == "vpp" else ""),
    }
    if frozen:
        claim |= {"adjacency": "replace-one", "unprotected": ["class counts", "class presence"]}
    else:
        claim["refs"] = ["claim"]
    made: dict[str, Any] = {
        "title": _title(system),
        "system": "vpdr",
        "mode": "frozen" if frozen and not legacy and system.scheme == "vpp" else "as_released",
        "source": f"arXiv:2604.27833; public code at commit {'ed89b22' if legacy else '51ba672'}",
        "claim": claim,
        "sampling": {
            "used": "all",
            "accounted": "all",
            "schedule": "fixed",
            "rounds": system.rounds,
        },
        "release": [_prototypes(system, count, dimension), _choice(system, dimension)],
        "component": [{"name": "encoder", "trained_on": "public"}],
        "parameter": [{"name": "class count in the noise scale", "source": "public"}],
    }
    if statements := _statements(system, count, dimension, native):
        made["statement"] = statements
    if legacy:
        made["parameter"].append(
            {
                "name": "normaliser of the scores",
                "source": "private",
                "note": "scores are divided by their maximum first",
                "refs": ["F2"],
            }
        )
    return made | (_clean_rest() if frozen else _rest(made, count, dimension))


def _title(system: "AsReleasedVpdr") -> str:
    name = "VPDR (VPP)" if system.scheme == "vpp" else "VPDR, isotropic baseline (IGPP)"
    age = ", older code generation" if system.generation == "legacy" else " as released"
    return name + age + (", frozen encoder" if system.frozen_encoder else "")


def _prototypes(system: "AsReleasedVpdr", count: int, dimension: int) -> dict[str, Any]:
    legacy = system.generation == "legacy"
    release: dict[str, Any] = {
        "name": "prototypes",
        "data": _DATA,
        "views": ["server"],
        "clip": "record",
        "clip_norm": system.radius,
    }
    if system.scheme == "vpp":
        bounds, stddevs = system.shape(dimension)
        if legacy:  # noise by group on one ball: the norms only say how it is scaled
            norms, shares = stddevs, (1.0, 1.0)
        else:
            release["clip_set"] = "groups"
            total = sum(bounds)
            norms, shares = bounds, (bounds[1] / total, bounds[0] / total)
        release["group_norms"] = [system.radius * norm for norm in norms]
        release["budget_shares"] = list(shares)
    release |= {
        "divisor": float(count),
        "assumed_sensitivity": 2.0 * system.radius / count,
        "formula": system.conversion,
        "formula_epsilon": system.prototype_epsilon,
        "formula_releases": system.rounds,
        "releases": system.rounds,
    }
    if system.frozen_encoder:
        return release | {"inputs": ["encoder"], "refs": ["F5", "F13"] if legacy else ["F13"]}
    return release | {
        "inputs": ["adapter", "batch norm buffers"],
        "dimension": dimension,
        "signal_norm": system.radius,
        "refs": ["F5", "F12", "F13"] if legacy else ["F12", "F13"],
    }


def _choice(system: "AsReleasedVpdr", dimension: int) -> dict[str, Any]:
    choice = system.choice(dimension)
    release: dict[str, Any] = {
        "name": "dimension group",
        "data": _DATA,
        "views": ["server"],
        "kind": "pure",
        "pure_epsilon": choice.epsilon,
        "releases": system.rounds,
        "score_range": choice.cap,
        "chosen": choice.k,
        "dimension": dimension,
        "refs": ["F1"],
    }
    if system.scheme == "igpp":
        return release | {"charged": False, "refs": ["F1", "F9"]}
    if system.generation == "legacy":  # the whole share in every round
        return release | {"accounted_releases": 1, "refs": ["F1", "F5"]}
    return release


def _statements(
    system: "AsReleasedVpdr", count: int, dimension: int, native: int
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if system.scheme == "igpp" and system.generation == "current":
        found.append(
            {
                "about": "clip of the isotropic baseline",
                "says": "each feature is clipped to one ball of radius R",
                "does": "each group of dimensions is clipped by itself",
                "refs": ["F9"],
            }
        )
    if system.frozen_encoder:
        return found
    texts = {a.text.partition(":")[0]: a for a in defects(
        system, count=count, dimension=dimension, native=native)}  # fmt: skip
    for code in ("F2", "F3", "F4", "F10", "F11"):
        if code in texts:
            about = texts[code].text.partition(": ")[2]
            found.append(
                {
                    "about": _ABOUT[code],
                    "says": about.rstrip("."),
                    "does": texts[code].how,
                    "refs": [code],
                }
            )
    return found


_ABOUT = {
    "F2": "scores of the dimensions",
    "F3": "power of the noise",
    "F4": "placement of the noise",
    "F10": "alignment loss of FedProto and FPL",
    "F11": "dimensions that carry noise",
}


def _clean_rest() -> dict[str, Any]:
    return {
        "randomness": {"generator": "system", "arithmetic": "float"},
        "tuning": {"tuned_on": "public", "reported": "fixed"},
        "conduct": {"nonfinite": "zero", "across_records": []},
    }


def _rest(made: dict[str, Any], count: int, dimension: int) -> dict[str, Any]:
    bare = {"data": _DATA, "views": ["server"], "kind": "none"}
    return {
        "release": [
            *made["release"],
            {
                "name": "class presence and counts",
                **bare,
                "note": "only present classes are uploaded; the noise scale follows the true count",
                "refs": ["F8"],
            },
            {
                "name": "client sizes",
                **bare,
                "note": "the FedProto server weights clients by their true sizes; they are fixed "
                "under replace-one only",
                "refs": ["F14"],
            },
        ],
        "component": [
            {
                "name": "adapter",
                "trained_on": "private",
                "note": "adapters are trained without noise on the same records between the "
                "uploads",
                "refs": ["F6"],
            },
            {
                "name": "batch norm buffers",
                "trained_on": "private",
                "note": "running statistics of private data enter the frozen encoder (ResNet "
                "backbones)",
                "refs": ["F15"],
            },
        ],
        "parameter": [
            {
                "name": "class count in the noise scale",
                "source": "private",
                "noise_count": count,
                "dimension": dimension,
                "refs": ["F8"],
            },
            {
                "name": "clusters found at the client",
                "source": "private",
                "note": "FedPLVM clusters at the client and scales noise by 2 R over the size of "
                "the cluster: exchanging one record can move others between clusters, so that no "
                "valid bound exists",
                "refs": ["F7"],
            },
            *made["parameter"][1:],
        ],
        "randomness": {"generator": "not stated", "arithmetic": "float"},
        "tuning": {"tuned_on": "not stated", "reported": "not stated"},
        "evidence": [
            {
                "name": "test accuracy",
                "members_trained": True,
                "nonmembers_untrained": True,
                "same_mix": False,
                "note": "where no train and test folders exist, the held-out part inherits the "
                "random training transform",
                "refs": ["F16"],
            }
        ],
    }
