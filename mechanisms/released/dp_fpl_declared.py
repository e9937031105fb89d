"""DP-FPL as released, declared in the format of docs/lint.md from the parameters of the object."""

from typing import TYPE_CHECKING, Any

from .dp_fpl_training import promptfl_stddev

if TYPE_CHECKING:  # the mechanism imports this module
    from .dp_fpl import AsReleasedDpFpl


def declaration(
    system: "AsReleasedDpFpl", *, clients: int, rank: int, length: int, width: int
) -> dict[str, Any]:
    """Row dpfpl with this number of clients, as nested dicts."""
    ratio = promptfl_stddev(1.0, clients) * clients
    return {
        "title": "DP-FPL as released",
        "system": "dp-fpl",
        "mode": "as_released",
        "source": "arXiv:2501.13904 (ICLR 2025); public code at cce74b4",
        "claim": {
            "epsilon": system.epsilon,
            "delta": system.delta,
            "unit": "example",
            "trust": "trusted-server",
            "views": ["peer", "outsider"],
            "covers": "released personal prompt, and the noisy mean gradient of the shared prompt",
            "refs": ["P10", "P11"],
        },
        "sampling": {
            "used": "shuffled",
            "accounted": "all",
            "schedule": "fixed",
            "rounds": system.rounds,
            "note": "every client and every batch takes part; one example meets one batch a round",
            "refs": ["P4"],
        },
        "release": [
            _noised(system, "g_U", ["outsider"], dimension=length * rank),
            _noised(system, "g_V", ["outsider"], dimension=rank * width),
            _mean(system, clients),
            {
                "name": "g_G of each client",
                "data": "batch",
                "views": ["server"],
                "kind": "none",
                "note": "the server receives every client's clipped gradient each batch",
                "refs": ["P9"],
            },
        ],
        "component": [
            {
                "name": "personal prompt p_L",
                "trained_on": "noised",
                "note": "safe only while p_L starts without data and sees noised gradients alone",
                "refs": ["P5"],
            }
        ],
        "parameter": [
            {
                "name": "size that every client is truncated to",
                "source": "private",
                "note": "the smallest client's size",
                "refs": ["P14"],
            }
        ],
        "randomness": _randomness(system),
        "tuning": {
            "tuned_on": "private",
            "charged": False,
            "reported": "best",
            "note": "rank, rounds and clip bound are tuned on test data; the best round is printed "
            "beside the mean",
            "refs": ["P14"],
        },
        "state": _states(system),
        "evidence": [
            {
                "name": "membership inference harness",
                "members_trained": False,
                "nonmembers_untrained": True,
                "same_mix": False,
                "note": "its members lie beyond the truncation point, and were not trained on",
                "refs": ["P8"],
            }
        ],
        "statement": [
            *_reloaded(system),
            {
                "about": "row dplora",
                "says": "the low-rank part of p_L",
                "does": f"a partial isometry with all {rank} singular values 1: the magnitude of "
                "p_L is lost",
                "refs": ["P15"],
            },
            {
                "about": "noise of row promptfl",
                "says": "the same noise as in the other rows at equal epsilon",
                "does": f"noise is added twice: {ratio:.3g} times the standard deviation on the "
                "mean",
                "refs": ["P17"],
            },
        ],
    }


def _noised(
    system: "AsReleasedDpFpl", name: str, views: list[str], *, dimension: int
) -> dict[str, Any]:
    """A clipped gradient of one client with noise sigma C/B, which the accounting counts alone."""
    return {
        "name": name,
        "data": "batch",
        "views": views,
        **_clipped(system, system.clip_norm),
        "assumed_sensitivity": system.clip_norm / system.batch,
        **_formula(system),
        "dimension": dimension,
        "signal_norm": system.clip_norm,
        "refs": ["P1", "P2", "P3"],
    }


def _mean(system: "AsReleasedDpFpl", clients: int) -> dict[str, Any]:
    # With references to one tensor the mean is one client's gradient, not a share of it (P13).
    held = 1 if system.aliasing else clients
    return {
        "name": "mean of g_G",
        "data": "batch",
        "views": ["peer", "outsider"],
        **_clipped(system, system.clip_norm / held),
        "assumed_sensitivity": system.clip_norm / (system.batch * clients),
        **_formula(system),
        "refs": ["P1", "P2", "P3"],
    }


def _clipped(system: "AsReleasedDpFpl", clip_norm: float) -> dict[str, Any]:
    if system.clip == "batch":
        return {"clip": "batch", "clip_norm": clip_norm}
    return {"clip": "record", "clip_norm": clip_norm, "divisor": float(system.batch)}


def _formula(system: "AsReleasedDpFpl") -> dict[str, Any]:
    return {
        "formula": "moments",
        "formula_epsilon": system.epsilon,
        "formula_releases": system.rounds,
        "releases": system.rounds,
        "joint": False,
    }


def _randomness(system: "AsReleasedDpFpl") -> dict[str, Any]:
    if system.seed is None:
        return {
            "generator": "not stated",
            "arithmetic": "float",
            "note": "the noise is drawn from a key that the caller gives",
            "refs": ["P12"],
        }
    return {
        "generator": "seeded",
        "arithmetic": "float",
        "note": f"all noise comes from the global generator with seed {system.seed}; the public "
        "code uses 1, 2 and 3",
        "refs": ["P12"],
    }


def _states(system: "AsReleasedDpFpl") -> list[dict[str, Any]]:
    def held(shared: bool) -> str:
        return "shared" if shared else "per-client"

    return [
        {
            "name": "model and optimiser of all clients",
            "held": held(system.state == "shared"),
            "note": "one model simulates all clients: each personal prompt is stepped with the "
            "gradients that the last client left",
            "refs": ["P6", "P16"] if system.reload else ["P6"],
        },
        {
            "name": "momentum buffer",
            "held": held(system.buffer == "shared"),
            "note": "one buffer is stepped once for every client and batch",
            "refs": ["P7"],
        },
        {
            "name": "list of client gradients",
            "held": "shared",
            "note": "it stores references: where gradients are zeroed in place, all entries are "
            "the last client's",
            "refs": ["P13"],
        },
    ]


def _reloaded(system: "AsReleasedDpFpl") -> list[dict[str, Any]]:
    if not system.reload:
        return []
    return [
        {
            "about": "batches of a round",
            "says": "each batch of a round trains the prompts",
            "does": "the weights before the round are loaded again for each batch: only the last "
            "step survives",
            "refs": ["P16"],
        }
    ]
