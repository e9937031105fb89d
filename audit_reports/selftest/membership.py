"""Controls of membership attacks by queries: overfitted models of digits, and runs of DP-SGD.

Positive: records that fair coins put into the trainings. Noise: records that no training saw, with
coins that mean nothing, for the targets as for the references. Bounded: final models of DP-SGD.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .control import Control, Separated
from .membership_worlds import World, overfitted, private

if TYPE_CHECKING:
    from torch import Tensor

RUNS, FEWER = 1500, 60  # of DP-SGD in each world; fewer where each target costs a regression


def _attack(name: str, world: World, option: Any) -> Any:
    from ...attacks.membership.attack_p import AttackP
    from ...attacks.membership.bavaria import BaVarIA
    from ...attacks.membership.calibrated import CalibratedLoss
    from ...attacks.membership.lira import Lira
    from ...attacks.membership.loss import Confidence, Entropy, Loss
    from ...attacks.membership.quantile import QuantileRegression
    from ...attacks.membership.rmia import Rmia

    models: dict[str, Any] = {"references": world.references}
    others: dict[str, Any] = {"population": world.known}
    made: dict[str, Callable[[], Any]] = {
        "loss": Loss,
        "entropy": Entropy,
        "confidence": Confidence,
        "attack_p": lambda: AttackP(**others),
        "calibrated_loss": lambda: CalibratedLoss(**models),
        "lira": lambda: Lira(**models, mode=option),
        "rmia": lambda: Rmia(**models, **others, mode=option),
        "bavaria": lambda: BaVarIA(**models, mode=option),
        "quantile_regression": lambda: QuantileRegression(
            **others, features=world.x, fpr=0.1, learner=option
        ),
    }
    return made[name]()


def _by_answers(name: str, option: str, world: World, units: "Tensor") -> "Tensor":
    """float64[targets, m] of the records int64[m, 1]."""
    found: Tensor = _attack(name, world, option).score(world.view, units[:, 0])
    return found


def _by_decisions(name: str, option: str, world: World, units: "Tensor") -> "Tensor":
    from ...attacks.membership.label_only import Decisions, LabelOnly, noisy_copies

    asked = noisy_copies(world.x[units[:, 0]], copies=12, scale=0.3, seed=0)
    predicted = world.predicted(asked.flatten(0, 1)).unflatten(1, asked.shape[:2])
    labels = world.view.labels[units[:, 0]]
    return LabelOnly().score(Decisions(predicted=predicted, labels=labels))


def _by_users(name: str, option: Any, world: World, units: "Tensor") -> "Tensor":
    """float64[targets, users] of users with the records int64[users, each]."""
    import torch

    from ...attacks.membership.user_level import UserLevel

    records = _by_answers("lira", "online", world, units.flatten().unsqueeze(1))
    users = torch.arange(len(units)).repeat_interleave(units.shape[1])
    return UserLevel(users=users, how=option).score(records)


Scores = Callable[[World, "Tensor"], "Tensor"]
"""(world, units int64[m, records of each]) -> float64[targets, m]."""


def _separated(scores: "Tensor", member: "Tensor", mu: float | None) -> Separated:
    return Separated(
        values_in=scores[member].numpy(),
        values_out=scores[~member].numpy(),
        independent=mu is not None,
        mu=mu,
    )


def _one_training(scores: Scores, users: bool, touched: bool, seed: int) -> Separated:
    world = overfitted(seed)
    if users:
        units = world.used_users if touched else world.untouched_users
    else:
        units = (world.used if touched else world.untouched).unsqueeze(1)
    return _separated(scores(world, units), world.member[:, units[:, 0]], None)


def _many_runs(scores: Scores, runs: int, seed: int) -> Separated:
    world, mu = private(seed, runs)
    return _separated(scores(world, world.used_users), world.member[:, :1], mu)


def _control(
    attack: str,
    *,
    at_least: float,
    option: str = "",
    reaches: float = 0.0,
    runs: int | None = RUNS,
    by: Callable[[str, str, World, "Tensor"], "Tensor"] = _by_answers,
) -> Control:
    scores, users = partial(by, attack, option), by is _by_users
    return Control(
        attack=attack,
        adversary="querier",
        setting=f"{option}{', ' if option else ''}overfitted digits, runs of DP-SGD",
        positive=partial(_one_training, scores, users, True),
        noise=partial(_one_training, scores, users, False),
        bounded=None if runs is None else partial(_many_runs, scores, runs),
        at_least=at_least,
        reaches=reaches,
    )


# The answer about record 0 is one number, so whatever rises with it is optimal there. Trees that
# are fitted to the few other records asked about would be a constant: no second test of the loss.
CONTROLS: tuple[Control, ...] = (
    _control("loss", at_least=0.8, reaches=0.85),
    _control("entropy", at_least=0.66),
    _control("confidence", at_least=0.66),
    _control("attack_p", at_least=0.8, reaches=0.5),
    _control("calibrated_loss", at_least=0.75, reaches=0.85),
    _control("lira", option="online", at_least=0.91, reaches=0.85),
    _control("lira", option="offline", at_least=0.83, reaches=0.85),
    _control("rmia", option="online", at_least=0.9, reaches=0.5),
    _control("rmia", option="offline", at_least=0.9, reaches=0.5),
    _control("bavaria", option="online", at_least=0.92, reaches=0.85),
    _control("bavaria", option="offline", at_least=0.85, reaches=0.85),
    _control("quantile_regression", option="boosting", at_least=0.8, runs=None),
    _control("quantile_regression", option="linear", at_least=0.77, runs=FEWER),
    _control("label_only", at_least=0.79, by=_by_decisions),
    _control("user_level", option="mean", at_least=0.95, by=_by_users),
    _control("user_level", option="max", at_least=0.92, by=_by_users),
    _control("user_level", option="sum", at_least=0.95, by=_by_users),
)
