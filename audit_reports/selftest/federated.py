"""Controls of membership attacks on federations: small networks on digits, replicas as trials.

Without privacy each of 20 mislabelled records of one client is in each of many runs by its own
coin. On noise the same coins are drawn, but nobody holds these records. Private runs are pairs with
and without one record, trained with DP-SGD (mu = 2 for all rounds together), or with and without
one client.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .control import Control, Separated

if TYPE_CHECKING:
    from torch import Tensor

    from .federated_runs import Seen

Score = Callable[["Seen"], "Tensor"]


def _separated(seen: "Seen", scores: "Tensor") -> Separated:
    """Scores float64[replicas, m] of members and of the others."""
    private = seen.mu is not None
    return Separated(
        values_in=scores[seen.member].numpy(),
        values_out=scores[~seen.member].numpy(),
        independent=private,
        mu=seen.mu,
    )


def averaged(seed: int, *, score: Score, private: bool = False, used: bool = True) -> Separated:
    """An attack on an honest server's run."""
    from .federated_runs import averaging

    seen = averaging(seed, private=private, used=used)
    return _separated(seen, score(seen))


def _gradient_difference(seen: "Seen") -> "Tensor":
    from ...attacks.membership.gradient_difference import GradientDifference
    from .federated_runs import NET, TARGET

    return GradientDifference(kernel=NET, client=TARGET).score(seen.view, seen.records)


def _update_norm(seen: "Seen") -> "Tensor":
    from ...attacks.membership.update_norm import UpdateNorm
    from .federated_runs import NET

    return UpdateNorm(kernel=NET).score(seen.peer, seen.records)


def _fedmia(seen: "Seen") -> "Tensor":
    from ...attacks.membership.fedmia import FedMia
    from .federated_runs import NET, TARGET

    return FedMia(kernel=NET, client=TARGET).score(seen.view, seen.records)


def weighted(seed: int, *, private: bool = False, used: bool = True) -> Separated:
    """All rounds of the gradient difference, calibrated on the first half of the runs."""
    from dataclasses import replace

    from ...attacks.membership.all_rounds import AllRounds
    from ...attacks.membership.gradient_difference import GradientDifference
    from .federated_runs import NET, TARGET, averaging

    seen = averaging(seed, private=private, used=used)
    each = GradientDifference(kernel=NET, client=TARGET)
    rounds = each.per_round(seen.view, seen.records).movedim(1, 2)  # [replicas, m, rounds]
    own, rest = slice(len(rounds) // 2), slice(len(rounds) // 2, None)
    attack = AllRounds(
        attack=each, out=rounds[own][~seen.member[own]], inside=rounds[own][seen.member[own]]
    )
    left = replace(seen, view=seen.view.take(rest), member=seen.member[rest])
    return _separated(left, attack.score(left.view, left.records))


def ascending(seed: int, *, private: bool = False, used: bool = True) -> Separated:
    """A server that ascends on one candidate in each run; each run has one score."""
    from dataclasses import replace

    from .federated_runs import ascended, ascent

    seen, target = ascended(seed, private=private, used=used)
    scores = ascent().score(seen.view, seen.records)
    asked = target.unsqueeze(1)
    return _separated(replace(seen, member=seen.member.gather(1, asked)), scores.gather(1, asked))


def prompts(seed: int, *, private: bool = False, used: bool = True) -> Separated:
    """A server that plants a key for each candidate in a pool of prompts."""
    import torch

    from .federated_runs import planted

    seen, attack = planted(seed, private=private, used=used)
    return _separated(seen, attack.score(seen.view, torch.arange(len(seen.records))))


def canaries(seed: int, *, private: bool = False, used: bool = True) -> Separated:
    """Runs with and without a client that sends a chosen direction."""
    from ...attacks.membership.update_cosine import UpdateCosine
    from .federated_runs import with_canary

    view, direction, mu = with_canary(seed, private=private, used=used)
    scores = UpdateCosine().score(view, direction.unsqueeze(0))[:, 0].numpy()
    half = len(scores) // 2
    return Separated(values_in=scores[:half], values_out=scores[half:], independent=True, mu=mu)


def _control(
    attack: str,
    adversary: str,
    setting: str,
    run: Callable[..., Separated],
    *,
    at_least: float,
    reaches: float = 0.0,
) -> Control:
    return Control(
        attack=attack,
        adversary=adversary,
        setting=setting,
        positive=run,
        noise=partial(run, used=False),
        bounded=partial(run, private=True),
        at_least=at_least,
        reaches=reaches,
    )


_HONEST = "FedAvg of 64-8-10 networks, 6 clients, 8 rounds"
CONTROLS = (
    _control(
        "gradient_difference",
        "server",
        _HONEST,
        partial(averaged, score=_gradient_difference),
        at_least=0.8,
        reaches=0.75,
    ),
    _control("update_norm", "peer", _HONEST, partial(averaged, score=_update_norm), at_least=0.58),
    _control(
        "fedmia", "server", _HONEST, partial(averaged, score=_fedmia), at_least=0.7, reaches=0.5
    ),
    _control("all_rounds", "server", _HONEST, weighted, at_least=0.8, reaches=0.65),
    _control("gradient_ascent", "server", f"{_HONEST}, malicious server", ascending, at_least=0.9),
    _control(
        "planted_prompt",
        "server",
        "FedAvg of a pool of prompts, 6 clients, 8 rounds, malicious server",
        prompts,
        at_least=0.75,
    ),
    _control(
        "update_cosine",
        "peer",
        "FedAvg of linear models, 2 rounds, a client that sends a random direction",
        canaries,
        at_least=0.99,
        reaches=0.95,
    ),
)
