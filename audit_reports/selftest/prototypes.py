"""Controls of prototype inversion: one record, one of 100 pictures of its class, 4 noisy rounds.

The bounded release is the groupwise mechanism, whose mu is accounted. No reconstruction is
optimal, so only the informed bound (`PrototypeMatch`) has a share of the ceiling to reach.
"""

from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any

from .control import Control, Found
from .gallery import CANDIDATES, Gallery, Public, Trials, draw

if TYPE_CHECKING:
    from torch import Tensor

    from ...mechanisms.base import Mechanism

_DIMENSIONS, _LEADING = 48, 16
_CLIP, _GROUP_CLIPS = 0.8, (0.7, 0.4)
_MU, _ROUNDS = 3.0, 4


@cache
def _digits() -> Gallery:
    """scikit-learn's digits at 14 pixels, and two random convolutions as the frozen encoder.

    A random encoder keeps most of a picture, which is what a positive control needs; with the
    packaged backbone a control would take minutes (`benchmarks/inversion.py`).
    """
    import torch
    from torch.nn.functional import avg_pool2d, conv2d, relu

    from ...fl_core.data.digits import load_domain

    data = load_domain("optdigits", per_class=174, seed=0)
    pictures = torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255.0
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(16, 3, 5, 5, generator=generator) / 75**0.5
    second = torch.randn(32, 16, 3, 3, generator=generator) / 144**0.5

    def backbone(images: "Tensor") -> "Tensor":
        hidden = relu(conv2d(images - 0.5, first, stride=2, padding=2))
        return relu(conv2d(hidden, second, stride=2, padding=1)).flatten(1)

    pictures = avg_pool2d(pictures, 2)
    with torch.no_grad():
        raw = backbone(pictures)
    return Gallery.of(
        pictures,
        torch.from_numpy(data.labels),
        raw,
        backbone,
        private_per_class=CANDIDATES + 10,
        dimensions=_DIMENSIONS,
    )


@cache
def _mechanism(private: bool) -> "Mechanism":
    from ...mechanisms.prototypes import PrototypeDesign, groupwise, non_private

    design = PrototypeDesign(
        mu=_MU,
        rounds=_ROUNDS,
        adjacency="add-remove",
        clip_norm=_CLIP,
        group_sizes=(_LEADING, _DIMENSIONS - _LEADING),
        group_norms=_GROUP_CLIPS,
        public_count=1,
    )
    return groupwise(design) if private else non_private(design)


@cache
def _public(private: bool) -> Public:
    return Public.of(_digits(), _mechanism(private), rounds=_ROUNDS)


@lru_cache(maxsize=4)
def _trials(kind: str, count: int, seed: int) -> Trials:
    from ...mechanisms.base import SeededKey

    return draw(
        _digits(),
        _mechanism(kind != "positive"),
        rounds=_ROUNDS,
        records=1,
        trials=count,
        key=SeededKey(seed).child("prototype inversion", kind),
        empty=kind == "noise",
    )


def _prototype_match(public: Public, trials: Trials) -> Any:
    from ...attacks.inversion.identification import PrototypeMatch

    return PrototypeMatch(space=public.space)


def _linear(public: Public, trials: Trials) -> Any:
    from ...attacks.inversion.decoder import LinearDecoding, fit

    found = fit(public.features, public.images, ridge=0.01, noise_stddevs=public.stddev)
    return LinearDecoding(decoder=found)


def _neural(public: Public, trials: Trials) -> Any:
    from ...attacks.inversion.noisy_decoder import NeuralDecoding

    return NeuralDecoding(decoder=_network(public))


@cache
def _network(public: Public) -> Any:
    from ...attacks.inversion.noisy_decoder import Training, train

    return train(public.features, public.images, Training(), noise_stddevs=public.stddev)


def _pixels(public: Public, trials: Trials) -> Any:
    from ...attacks.inversion.prototype import PrototypeInversion

    return PrototypeInversion(
        encode=trials.encode,
        space=public.space,
        decoder=_linear(public, trials).decoder,
        steps=40,
    )


def _latent(public: Public, trials: Trials) -> Any:
    from ...attacks.inversion.latent_prior import LatentInversion, principal_latent

    return LatentInversion(
        encode=trials.encode,
        space=public.space,
        latent=principal_latent(public.images, _DIMENSIONS),
        decoder=_linear(public, trials).decoder,
        steps=60,
    )


def _found(build: Callable[[Public, Trials], Any], kind: str, count: int, seed: int) -> Found:
    from ...attacks.inversion.identification import identified

    trials, public = _trials(kind, count, seed), _public(kind != "positive")
    scores = build(public, trials).score(trials.seen, trials.candidates)
    return Found(
        hits=int(identified(scores, trials.truth).sum()),
        trials=count,
        chance=1.0 / CANDIDATES,
        mu=_proven_mu() if kind == "bounded" else None,
    )


@cache
def _proven_mu() -> float:
    import dp_accounting.dp_event as dpe

    from ...accountant.account import account

    event = dpe.SelfComposedDpEvent(_mechanism(True).event(), _ROUNDS)
    return account(event, adjacency="add-remove").mu.upper


def _control(
    attack: str, setting: str, build: Callable[[Public, Trials], Any], count: int, reaches: float
) -> Control:
    return Control(
        attack=attack,
        adversary="server",
        setting=f"{setting}; one digit of 14 x 14 among 100 of its class, random convolutions",
        positive=partial(_found, build, "positive", count),
        noise=partial(_found, build, "noise", count),
        bounded=partial(_found, build, "bounded", count),
        at_least=0.9,
        reaches=reaches,
    )


CONTROLS: tuple[Control, ...] = (
    _control(
        "prototype_match", "no reconstruction, the informed bound", _prototype_match, 1000, 0.25
    ),
    _control("linear_decoding", "pixel match of a ridge decoder", _linear, 400, 0.0),
    _control("neural_decoding", "pixel match of a trained decoder", _neural, 400, 0.0),
    _control("prototype_inversion", "pixel match after descent on pixels", _pixels, 200, 0.0),
    _control("latent_inversion", "pixel match after descent on a latent", _latent, 200, 0.0),
)
