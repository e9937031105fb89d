"""Controls of the attacks on gradients: one client, one step, one record or a few.

Each trial is a client of its own: a record is drawn at random, the adversary has it and 99 others
of its class in random order, and must say which it was. Blind, that is one in a hundred, whatever
the adversary knows of pool, class and label.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .control import Control, Found

if TYPE_CHECKING:
    from torch import Tensor

    from ...attacks.inversion.gradients.view import GradientView
    from ...fl_core.kernels.base import Params
    from ...fl_core.kernels.stacked import Stacked

CANDIDATES = 100
SIGMA = 1.0  # noise over clip bound in the bounded runs
MU = 1.0 / SIGMA  # against the same release of no record: a reference world like any other


class _Game(NamedTuple):
    """Clients, and what their adversaries choose from.

    Attributes:
        x: float[trials, batch, 64]. y: int64[trials, batch].
        candidates: float[trials, M, 64]. labels: int64[trials, M].
        truth: int64[trials], place of the first record among the candidates.
    """

    x: "Tensor"
    y: "Tensor"
    candidates: "Tensor"
    labels: "Tensor"
    truth: "Tensor"


@cache
def _digits() -> "tuple[Tensor, Tensor]":
    import torch
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x / 16.0).float(), torch.from_numpy(y).long()


def _game(trials: int, seed: int, *, batch: int = 1) -> _Game:
    import torch

    x, y = _digits()
    draw = torch.Generator().manual_seed(seed)
    # All candidates are of the target's class: what is typical of it says nothing.
    target = torch.randint(len(x), (trials,), generator=draw)
    apart = torch.rand(trials, len(x), generator=draw) + 2.0 * (y != y[target, None])
    apart[torch.arange(trials), target] = 9.0  # placed by itself
    others = apart.argsort(dim=1)
    truth = torch.randint(CANDIDATES, (trials,), generator=draw)
    among = others[:, :CANDIDATES].clone()
    among[torch.arange(trials), truth] = target
    batches = torch.cat([target[:, None], others[:, CANDIDATES : CANDIDATES + batch - 1]], dim=1)
    return _Game(x[batches], y[batches], x[among], y[among], truth)


def _model(trials: int, seed: int, hidden: int = 32) -> "tuple[Stacked, Params]":
    import torch

    from ...fl_core.counters import Counter
    from ...fl_core.kernels.stacked import mlp
    from ...mechanisms.base import SeededKey

    kernel = mlp((64, hidden, 10))
    one = torch.zeros(1, dtype=torch.int64)
    params = kernel.initial(Counter.of(SeededKey(seed), "model"), one, one)
    return kernel, {name: value.expand(trials, *value.shape[1:]) for name, value in params.items()}


def _view(
    game: _Game, kernel: "Stacked", params: "Params", *, protection: str, seed: int
) -> "GradientView":
    """The gradients as they are, pure noise, or each clipped to 1 with noise of `SIGMA`."""
    import torch

    from ...attacks.inversion.gradients.view import GradientView
    from ...fl_core.kernels.base import cross_entropy

    trials, batch = game.y.shape
    weights = torch.full((trials, batch), 1.0 / batch)
    found = kernel.gradients(params, game.x, game.y, weights, cross_entropy, {})
    seen = protected(found, protection, seed)
    return GradientView(gradients=seen, params=params, batch=batch)


def protected(found: "Params", protection: str, seed: int) -> "Params":
    """The gradients as they are ("none"), clipped to 1 together with noise, or noise alone."""
    import torch

    if protection == "none":
        return found
    draw = torch.Generator().manual_seed(seed + 1)
    length = torch.cat([v.flatten(1) for v in found.values()], dim=1).norm(dim=1)
    factor = (1.0 / length).clamp(max=1.0) if protection == "noisy" else 0.0 * length
    return {
        name: value * factor.view(-1, *[1] * (value.ndim - 1))
        + SIGMA * torch.randn(value.shape, generator=draw)
        for name, value in found.items()
    }


def identified(scores: "Tensor", truth: "Tensor", mu: float | None = None) -> Found:
    """How often float[trials, M] scores are largest at int64[trials] places."""
    hits = int((scores.argmax(dim=1) == truth).sum())
    return Found(hits=hits, trials=len(truth), chance=1.0 / CANDIDATES, mu=mu)


def _linear(protection: str) -> Callable[[int], Found]:
    def run(seed: int) -> Found:
        from ...attacks.inversion.gradients.linear_analytic import LinearAnalytic

        trials = 1000
        game, (kernel, params) = _game(trials, seed), _model(trials, seed)
        view = _view(game, kernel, params, protection=protection, seed=seed)
        scores = LinearAnalytic().score(view, game.candidates)
        return identified(scores, game.truth, MU if protection == "noisy" else None)

    return run


def _informed(protection: str) -> Callable[[int], Found]:
    def run(seed: int) -> Found:
        from ...attacks.inversion.gradients.gradient_likelihood import GradientLikelihood
        from ...attacks.inversion.gradients.matching import forward_of

        trials = 500
        game, (kernel, params) = _game(trials, seed), _model(trials, seed)
        view = _view(game, kernel, params, protection=protection, seed=seed)
        attack = GradientLikelihood(
            forward=forward_of(kernel),
            classes=10,
            labels=game.labels,
            clip_norm=float("inf") if protection == "none" else 1.0,
        )
        scores = attack.score(view, game.candidates)
        return identified(scores, game.truth, MU if protection == "noisy" else None)

    return run


def _matched(kind: str, protection: str) -> Callable[[int], Found]:
    def run(seed: int) -> Found:
        import torch

        from ...attacks.inversion.gradients.dlg import DeepLeakage
        from ...attacks.inversion.gradients.inverting_gradients import InvertingGradients
        from ...attacks.inversion.gradients.matching import forward_of

        trials = 100 if kind == "cosine" else 30
        game, (kernel, params) = _game(trials, seed), _model(trials, seed)
        view = _view(game, kernel, params, protection=protection, seed=seed)
        draw = torch.Generator().manual_seed(seed + 2)
        start = 0.5 + 0.1 * torch.randn(game.x.shape, generator=draw)
        attack: Any
        if kind == "cosine":
            attack = InvertingGradients(
                forward=forward_of(kernel),
                start=start,
                labels=game.y,
                classes=10,
                bounds=(0.0, 1.0),
                steps=120,
            )
        else:
            attack = DeepLeakage(forward=forward_of(kernel), start=start, classes=10)
        scores = attack.score(view, game.candidates)
        return identified(scores, game.truth, MU if protection == "noisy" else None)

    return run


def _labels(protection: str) -> Callable[[int], Found]:
    """A hit: of two batches of 8, drawn alike, the one that was used; by a class of each alone."""

    def run(seed: int) -> Found:
        import torch

        from ...attacks.inversion.gradients.label_recovery import LabelRecovery

        trials, public = 400, 200
        x, y = _digits()
        draw = torch.Generator().manual_seed(seed)
        order = torch.rand(trials, len(x) - public, generator=draw).argsort(dim=1) + public
        pair = torch.stack([order[:, :8], order[:, 8:16]], dim=1)  # nobody's public records
        held = torch.zeros(trials, 2, 10).scatter_(2, y[pair], 1.0)
        alone = held * (1.0 - held.flip(1))
        usable = alone.any(dim=2).all(dim=1)
        pair, alone = pair[usable], alone[usable]
        asked = (alone * torch.rand(alone.shape, generator=draw)).argmax(dim=2)
        used = torch.randint(2, (len(pair),), generator=draw)
        batch = pair[torch.arange(len(pair)), used]
        game = _Game(x[batch], y[batch], x[batch], y[batch], used)
        kernel, params = _model(len(pair), seed)
        view = _view(game, kernel, params, protection=protection, seed=seed)
        some = {name: value[:1] for name, value in params.items()}
        predicted = kernel.outputs(some, x[None, :public]).logits[0].softmax(dim=1).mean(dim=0)
        counts = LabelRecovery(layer="2", predicted=predicted).score(view, asked)
        hits = int((counts.argmax(dim=1) == used).sum())
        return Found(hits=hits, trials=len(pair), chance=0.5)

    return run


def gradient_control(
    attack: str,
    setting: str,
    run: Callable[[str], Callable[[int], Found]],
    *,
    at_least: float,
    bounded: bool = True,
    assets: tuple[str, ...] = (),
) -> Control:
    """The server's attack on what `protected` lets it see: everything, noise alone, or both.

    Args:
        attack: its name in the catalog.
        setting: data and system, in one line.
        run: from a protection to the experiment with it.
        at_least: what the attack must reach where nothing protects.
        bounded: whether clipped gradients with noise bound it.
        assets: that it needs.
    """
    return Control(
        attack=attack,
        adversary="server",
        setting=setting,
        positive=run("none"),
        noise=run("noise"),
        bounded=run("noisy") if bounded else None,
        at_least=at_least,
        assets=assets,
    )


CONTROLS: tuple[Control, ...] = (
    gradient_control(
        "linear_analytic",
        "gradient of a network for digits, one record, 100 candidates",
        _linear,
        at_least=0.99,
    ),
    gradient_control(
        "gradient_likelihood",
        "gradient of a network for digits, one record, 100 candidates and their labels",
        _informed,
        at_least=0.99,  # bounded: records of one class move far less than the clip bound allows
    ),
    gradient_control(
        "inverting_gradients",
        "gradient of a network for digits, one record of known label, 100 candidates",
        partial(_matched, "cosine"),
        at_least=0.9,
    ),
    gradient_control(
        "deep_leakage",
        "gradient of a network for digits, one record of unknown label, 100 candidates",
        partial(_matched, "dlg"),
        at_least=0.7,
    ),
    gradient_control(
        "label_recovery",
        "gradient of a network for digits, 8 records; which of two batches it was",
        _labels,
        at_least=0.9,
        bounded=False,
    ),
)
