"""Controls of the attacks on tuned language models, on a stand-in of a hundred thousand weights.

- positive: adapters that overfit; each text is in or out of each by a fair coin, or each has a
  secret of its own;
- noise: the same models, but members and secrets are drawn anew, after the models: nothing that is
  seen depends on them;
- bounded: adapters after one upload of a client with one text or none, clipped and noised. The
  step is so short that the loss is nearly linear in it, and there an attack on the whole loss is
  the likelihood ratio: it must reach the proven mu.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .control import Control, Found, Separated

if TYPE_CHECKING:
    from torch import Tensor

    from .language_settings import Canaries, Secrets, Texts

_TEXTS = "texts that adapters of a tiny Llama overfit to; bounded: one upload, one text"
_CANARIES = "canaries among the texts of adapters of a tiny Llama; bounded: one upload"
_SECRETS = "keys of three letters in the texts of adapters of a tiny Llama; bounded: one letter"
_ASSETS = ("shakespeare",)
_Hit = Callable[["Secrets"], "Tensor"]  # bool[models]: the attack names the model's secret


def _loss(texts: "Texts") -> Any:
    from ...attacks.language.loss import TextLoss

    return TextLoss().score(texts.view)


def _zlib(texts: "Texts") -> Any:
    from ...attacks.language.zlib_ratio import ZlibRatio

    return ZlibRatio().score(texts.view)


def _min_k(texts: "Texts") -> Any:
    from ...attacks.language.min_k import MinK

    return MinK().score(texts.view)


def _min_k_plus_plus(texts: "Texts") -> Any:
    from ...attacks.language.min_k import MinKPlusPlus

    return MinKPlusPlus().score(texts.view)


def _reference(texts: "Texts") -> Any:
    from ...attacks.language.reference import ReferenceDifference

    return ReferenceDifference(reference=texts.base).score(texts.view)


def _lira(texts: "Texts") -> Any:
    from ...attacks.language.reference import as_answers
    from ...attacks.membership.lira import Lira

    return Lira(references=texts.references).score(as_answers(texts.view))


def _neighbourhood(texts: "Texts") -> Any:
    from ...attacks.language.neighbourhood import Neighbourhood

    return Neighbourhood(neighbours=texts.neighbours).score(texts.view)


def _recall(texts: "Texts") -> Any:
    from ...attacks.language.recall import Recall

    return Recall(prefixed=texts.prefixed).score(texts.view)


def _new_token(canaries: "Canaries") -> Any:
    from ...attacks.language.new_token_canary import NewTokenCanary

    return NewTokenCanary(reference=canaries.base).score(canaries.view)


def _likeliest(secrets: "Secrets") -> "Tensor":
    """bool[models]: the secret is the likeliest of its form, as published."""
    from ...attacks.language.exposure import Exposure

    return Exposure().reconstruct(secrets.view) == secrets.secret


def _most_gained(secrets: "Secrets") -> "Tensor":
    """bool[models]: the secret gained most over the base, which shows in one short step, too."""
    from ...attacks.language.exposure import Exposure

    return Exposure(reference=secrets.base).reconstruct(secrets.view) == secrets.secret


def _written(secrets: "Secrets") -> "Tensor":
    """bool[models]: the model writes the secret after the beginning."""
    from ...attacks.language.extraction import GreedyExtraction
    from .language_settings import length_given

    said = GreedyExtraction(given=length_given(secrets)).score(secrets.view) == 1.0
    return said.gather(1, secrets.secret.unsqueeze(1)).squeeze(1)


def _estimated(seed: int, *, anew: bool) -> Separated:
    """Every secret, and five keys at random, beside a hundred others."""
    import torch

    from ...attacks.language.exposure import SampledExposure
    from ...fl_core.data.streams import stream
    from . import language_settings as settings

    secrets = settings.tuned_secrets(seed)
    models, size = secrets.view.logp.shape[:2]
    draw = stream("language exposure", seed)
    sample = torch.from_numpy(draw.choice(size, 100, replace=False))
    attack = SampledExposure(sample=_some(secrets.view, sample), bits=10.0)
    scores = attack.score(secrets.view)
    asked = torch.from_numpy(draw.integers(0, size, (models, 6)))
    if anew:
        return _separated(
            scores.gather(1, asked), settings.coins(seed, "language exposure anew", models, 6)
        )
    asked[:, 0] = secrets.secret
    member = asked == secrets.secret.unsqueeze(1)
    return _separated(scores.gather(1, asked), member)


def _some(view: Any, which: "Tensor") -> Any:
    """The scores of some texts."""
    from ...attacks.language.view import TokenScores

    return TokenScores(logp=view.logp[:, which], inside=view.inside[which])


def _separated(scores: "Tensor", member: "Tensor", *, mu: float | None = None) -> Separated:
    return Separated(
        values_in=scores[member].numpy(),
        values_out=scores[~member].numpy(),
        independent=mu is not None,
        mu=mu,
    )


def _membership(
    attack: str,
    score: Callable[[Any], "Tensor"],
    setting: str,
    of: tuple[str, str],
    *,
    at_least: float,
    reaches: float = 0.0,
) -> Control:
    """An attack that scores texts.

    Args:
        attack: its name.
        score: of texts or canaries, float64[models, texts].
        setting: in words.
        of: what it looks at, tuned and uploaded, by name of the functions that make them.
        at_least: see `Control`.
        reaches: likewise.
    """

    def made(number: int, seed: int) -> Any:
        from . import language_settings

        return getattr(language_settings, of[number])(seed)

    def positive(seed: int) -> Separated:
        seen = made(0, seed)
        return _separated(score(seen), seen.member)

    def noise(seed: int) -> Separated:
        from .language_settings import coins

        seen = made(0, seed)
        anew = coins(seed, "language members anew", *seen.member.shape)
        return _separated(score(seen), anew)

    def bounded(seed: int) -> Separated:
        from .language_settings import MU

        seen = made(1, seed)
        return _separated(score(seen), seen.member, mu=MU)

    return Control(
        attack=attack,
        adversary="outsider",
        setting=setting,
        positive=positive,
        noise=noise,
        bounded=bounded,
        at_least=at_least,
        reaches=reaches,
        assets=_ASSETS,
    )


def _found(hit: _Hit, secrets: "Secrets", *, mu: float | None = None) -> Found:
    models, keys = secrets.view.logp.shape[:2]
    return Found(hits=int(hit(secrets).sum()), trials=models, chance=1.0 / keys, mu=mu)


def _secret(
    attack: str, hit: _Hit, *, at_least: float, private: _Hit | None = None, reaches: float = 0.0
) -> Control:
    """An attack that names a secret.

    Args:
        attack: its name.
        hit: whether it names that of each model.
        at_least: see `Control`.
        private: `hit` in the bounded run, if it is another.
        reaches: see `Control`.
    """

    def positive(seed: int) -> Found:
        from .language_settings import tuned_secrets

        return _found(hit, tuned_secrets(seed))

    def noise(seed: int) -> Found:
        import torch

        from ...fl_core.data.streams import stream
        from .language_settings import tuned_secrets

        secrets = tuned_secrets(seed)
        models, keys = secrets.view.logp.shape[:2]
        anew = stream("language secrets anew", seed).integers(0, keys, models)
        return _found(hit, secrets._replace(secret=torch.from_numpy(anew)))

    def bounded(seed: int) -> Found:
        from .language_settings import MU, uploaded_secrets

        return _found(private or hit, uploaded_secrets(seed), mu=MU)

    return Control(
        attack=attack,
        adversary="outsider",
        setting=_SECRETS,
        positive=positive,
        noise=noise,
        bounded=bounded,
        at_least=at_least,
        reaches=reaches,
        assets=_ASSETS,
    )


_OF_TEXTS = ("tuned_texts", "uploaded_texts")
_OF_CANARIES = ("tuned_canaries", "uploaded_canaries")

CONTROLS: tuple[Control, ...] = (
    _membership("text_loss", _loss, _TEXTS, _OF_TEXTS, at_least=0.9, reaches=0.7),
    _membership("zlib_ratio", _zlib, _TEXTS, _OF_TEXTS, at_least=0.9, reaches=0.7),
    _membership("min_k", _min_k, _TEXTS, _OF_TEXTS, at_least=0.9),
    _membership("min_k_plus_plus", _min_k_plus_plus, _TEXTS, _OF_TEXTS, at_least=0.9),
    _membership("text_reference", _reference, _TEXTS, _OF_TEXTS, at_least=0.95, reaches=0.7),
    _membership("lira", _lira, _TEXTS, _OF_TEXTS, at_least=0.95, reaches=0.7),
    _membership("neighbourhood", _neighbourhood, _TEXTS, _OF_TEXTS, at_least=0.8),
    _membership("recall", _recall, _TEXTS, _OF_TEXTS, at_least=0.8),
    _membership("new_token_canary", _new_token, _CANARIES, _OF_CANARIES, at_least=0.8, reaches=0.4),
    _secret("exposure", _likeliest, at_least=0.8, private=_most_gained, reaches=0.3),
    _secret("greedy_extraction", _written, at_least=0.8),
    Control(
        attack="sampled_exposure",
        adversary="outsider",
        setting=_SECRETS,
        positive=lambda seed: _estimated(seed, anew=False),
        noise=lambda seed: _estimated(seed, anew=True),
        at_least=0.9,
        assets=_ASSETS,
    ),
)
