"""Controls of membership attacks by queries: overfitted models of digits, and runs of DP-SGD.

Positive: records that fair coins put into the trainings. Noise: records that no training saw, with
coins that mean nothing, for the targets as for the references. Bounded: final models of DP-SGD, in
which what is usual differs from candidate to candidate.

Both kinds of data are chosen so that references matter: what the attacks that have some must reach
is out of reach for one that ignores them.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .control import Control, Separated
from .membership_worlds import BY_HEART, HALF_LEARNT, Private, Training, World, overfitted, private

if TYPE_CHECKING:
    from torch import Tensor

ONE = partial(private, runs=1500, sigma=1.0, units=1, each=1)  # mu = 2
SEVERAL = partial(private, runs=1500, sigma=1.0, units=4, each=1)  # mu = 2
OF_USERS = partial(private, runs=1500, sigma=3.0, units=3, each=3)  # mu = 2 for a user
FEW = partial(private, runs=200, sigma=4 / 3, units=1, each=1)  # mu = 1.5; a regression for each


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
        "rmia": lambda: Rmia(**models, **others, mode=option, a=world.a),
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


def _one_training(
    scores: Scores, how: Training, users: bool, touched: bool, seed: int
) -> Separated:
    found = overfitted(seed, how)
    if users:
        units = found.used_users if touched else found.untouched_users
    else:
        units = (found.used if touched else found.untouched).unsqueeze(1)
    values, member = scores(found.world, units), found.world.member[:, units[:, 0]]
    return Separated(
        values_in=values[member].numpy(), values_out=values[~member].numpy(), independent=False
    )


def _many_runs(scores: Scores, runs: Callable[[int], Private], seed: int) -> Separated:
    found = runs(seed)
    values = scores(found.world, found.units).gather(1, found.asked.unsqueeze(1))[:, 0]
    return Separated(
        values_in=values[found.inside].numpy(),
        values_out=values[~found.inside].numpy(),
        independent=True,
        mu=found.mu,
    )


def _control(
    attack: str,
    *,
    at_least: float,
    option: str = "",
    reaches: float = 0.0,
    how: Training = BY_HEART,
    runs: Callable[[int], Private] | None = None,
    by: Callable[[str, str, World, "Tensor"], "Tensor"] = _by_answers,
) -> Control:
    scores, users = partial(by, attack, option), by is _by_users
    data = "digits of any contrast" if how is HALF_LEARNT else "overfitted digits"
    private_runs = "" if runs is None else "runs of DP-SGD"
    return Control(
        attack=attack,
        adversary="querier",
        setting=", ".join(part for part in (option, data, private_runs) if part),
        positive=partial(_one_training, scores, how, users, True),
        noise=partial(_one_training, scores, how, users, False),
        bounded=None if runs is None else partial(_many_runs, scores, runs),
        at_least=at_least,
        reaches=reaches,
    )


# Not everybody has private runs: of one candidate the loss is one number, of which rank, confidence
# and entropy would be further names; trees that are fitted to the few other records asked about are
# a constant; and a mean over users with equally many records is their sum.
_compared = partial(_control, how=HALF_LEARNT, runs=SEVERAL)
CONTROLS: tuple[Control, ...] = (
    _control("loss", at_least=0.85, runs=ONE, reaches=0.85),
    _control("entropy", at_least=0.66),
    _control("confidence", at_least=0.66),
    _control("attack_p", at_least=0.85),
    _compared("calibrated_loss", at_least=0.69, reaches=0.6),
    _compared("lira", option="online", at_least=0.77, reaches=0.9),
    _compared("lira", option="offline", at_least=0.715, reaches=0.88),
    _compared("rmia", option="online", at_least=0.765, reaches=0.35),
    _compared("rmia", option="offline", at_least=0.7, reaches=0.55),
    _compared("bavaria", option="online", at_least=0.755, reaches=0.85),
    _compared("bavaria", option="offline", at_least=0.7, reaches=0.85),
    _control("quantile_regression", option="boosting", at_least=0.8),
    _control("quantile_regression", option="linear", at_least=0.77, runs=FEW),
    _control("label_only", at_least=0.83, by=_by_decisions, runs=ONE),
    _control("user_level", option="mean", at_least=0.95, by=_by_users),
    _control("user_level", option="max", at_least=0.92, by=_by_users, runs=OF_USERS),
    _control("user_level", option="sum", at_least=0.95, by=_by_users, runs=OF_USERS, reaches=0.45),
)
