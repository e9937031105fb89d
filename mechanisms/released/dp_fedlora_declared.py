"""DP-FedLoRA as released, declared in the format of docs/lint.md from the object's parameters."""

from typing import TYPE_CHECKING, Any

from .dp_fedlora_training import Participations, branch_as_released

if TYPE_CHECKING:  # the mechanism imports this module
    from .dp_fedlora import AsReleasedDpFedLora

_EVERYONE = ["server", "peer", "outsider"]


def declaration(
    system: "AsReleasedDpFedLora", *, rounds: int, uses: Participations, rank: int, side: int
) -> dict[str, Any]:
    """A run with this schedule, as nested dicts."""
    return {
        "title": "DP-FedLoRA as released",
        "system": "dp-fedlora",
        "mode": "as_released",
        "source": "arXiv:2509.09097; public code at 648254e",
        "claim": {
            "epsilon": system.epsilon,
            "delta": system.delta,
            "trust": "local-noise",
            "views": _EVERYONE,
            "covers": "noisy LoRA tensors of one upload",
            "refs": ["claim"],
        },
        "sampling": {
            "used": "public-schedule",
            "accounted": "all",
            "schedule": "fixed",
            "rounds": rounds,
            "participations": uses.most,
            "note": "clients are drawn by a generator seeded with the round: "
            f"{uses.fewest} to {uses.most} participations, {uses.mean:g} on average",
            "refs": ["L9"],
        },
        "release": [_tensors(system, uses, rank, side), *_controls(system)],
        "component": [{"name": "base model", "trained_on": "public"}],
        "randomness": _randomness(system),
        "tuning": {
            "tuned_on": "private",
            "charged": False,
            "reported": "best",
            "note": "learning rate, epsilon and clip bound are swept on the evaluation tasks",
            "refs": ["L13"],
        },
        "evidence": [
            {
                "name": "logged noise statistics",
                "members_trained": True,
                "nonmembers_untrained": True,
                "same_mix": False,
                "note": "norms before the clip are set beside noise scales after it",
                "refs": ["L12"],
            }
        ],
        "statement": _statements(system),
    }


def _tensors(
    system: "AsReleasedDpFedLora", uses: Participations, rank: int, side: int
) -> dict[str, Any]:
    release: dict[str, Any] = {"name": "LoRA tensors", "data": "upload", "views": _EVERYONE}
    if not system.noised:
        return release | {"kind": "none", "releases": uses.most, "refs": ["L14"]}
    alone = system.clip == "per_tensor_weights"
    return release | {
        "clip": "upload",
        "clips_weights": alone,
        "clip_norm": system.clip_norm,
        "assumed_sensitivity": system.clip_norm,
        "formula": "classical",
        "formula_epsilon": system.epsilon,
        "formula_releases": 1,
        "tensors": system.tensors if alone else 1,
        "accounted_tensors": 1,
        "releases": uses.most,
        "accounted_releases": 1,
        "dimension": rank * side * (1 if alone else system.tensors),
        "signal_norm": system.clip_norm,
        "refs": ["L1", "L2", "L3", "L4", "L5", "L6"] if alone else ["L1", "L3", "L4", "L5"],
    }


def _controls(system: "AsReleasedDpFedLora") -> list[dict[str, Any]]:
    if not system.scaffold_leak:
        return []
    return [
        {
            "name": "SCAFFOLD control variates",
            "data": "upload",
            "views": ["server"],
            "kind": "none",
            "note": "in the SCAFFOLD rows they go up unclipped and without noise",
            "refs": ["L8"],
        }
    ]


def _randomness(system: "AsReleasedDpFedLora") -> dict[str, Any]:
    if not system.reseeded:
        return {
            "generator": "not stated",
            "arithmetic": "float",
            "note": "the noise is drawn from a key that the caller gives",
        }
    return {
        "generator": "reused",
        "arithmetic": "float",
        "note": "the trainer seeds the global generator with a fixed default just before noise is "
        "drawn (library behaviour, not verified)",
        "refs": ["L10"],
    }


def _statements(system: "AsReleasedDpFedLora") -> list[dict[str, Any]]:
    return [
        {
            "about": "aggregation",
            "says": "unbiased aggregation by stacking",
            "does": "each factor is averaged by itself: the product differs by the covariance of "
            "the factors",
            "refs": ["L7"],
        },
        {
            "about": "scale of the factors",
            "says": "noise on the update",
            "does": "noise on A and B apart, whose size on BA depends on how the factors share the "
            "scale",
            "refs": ["L11"],
        },
        {
            "about": "switch for differential privacy",
            "says": "--enable_dp turns it on",
            "does": "the option is --use_dp, and its default is False"
            + ("" if system.noised else "; it is off here")
            + ("" if system.flag_reaches_noise else "; it does not reach the noise"),
            "protects": True,
            "refs": ["L14"],
        },
        {
            "about": "algorithm fedadgrad",
            "says": "FedAdagrad",
            "does": f"the branch {branch_as_released('fedadgrad')}, plain averaging: the "
            "aggregation tests for another spelling",
            "refs": ["L15"],
        },
    ]
