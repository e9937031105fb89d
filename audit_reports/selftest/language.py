"""Controls of the attacks on tuned language models, on a stand-in of a hundred thousand weights.

- positive: adapters that overfit; each text is in or out of each by a fair coin, or each has a
  secret of its own;
- noise: models made in the same way, but other texts were put in the place of those that attacks
  are asked about, before the tuning. So what depends on the coins in any other way than by what
  the models learnt, is seen as well. Secrets are only drawn anew, after the models;
- bounded: adapters after one upload of a client with one text or none, clipped and noised. The
  step is so short that the loss is nearly linear in it, and there an attack that knows what each
  text gains by its own step is the likelihood ratio: it must come near the proven mu. Only such
  attacks are held against a ceiling: others would stay below it with half of the noise as well.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .control import Control, Found, Separated

if TYPE_CHECKING:
    from torch import Tensor

    from .language_settings import Canaries, Secrets, Texts, Uploads

_TEXTS = "texts that adapters of a tiny Llama overfit to; bounded: one upload, one text or none"
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


def _reference(texts: "Texts | Uploads") -> Any:
    from ...attacks.language.reference import ReferenceDifference

    return ReferenceDifference(reference=texts.base).score(texts.view)


def _lira(texts: "Texts | Uploads") -> Any:
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


def _most_of_its_own(secrets: "Secrets") -> "Tensor":
    """bool[models]: the secret gained most of what its own step would give; the likelihood's."""
    from ...attacks.language.exposure import Exposure

    attack = Exposure(reference=secrets.base, alone=secrets.alone)
    return attack.reconstruct(secrets.view) == secrets.secret


def _written(secrets: "Secrets") -> "Tensor":
    """bool[models]: the model writes the secret after the beginning."""
    from ...attacks.language.extraction import GreedyExtraction
    from .language_settings import length_given

    said = GreedyExtraction(given=length_given(secrets)).score(secrets.view) == 1.0
    return said.gather(1, secrets.secret.unsqueeze(1)).squeeze(1)


def _estimated(seed: int, *, anew: bool) -> Separated:
    """Every secret, and five keys at random, beside a hundred others."""
    import math

    import torch

    from ...attacks.language.exposure import SampledExposure
    from ...fl_core.data.streams import stream
    from . import language_settings as settings

    secrets = settings.tuned_secrets(seed)
    models, size = secrets.view.logp.shape[:2]
    draw = stream("language exposure", seed)
    sample = torch.from_numpy(draw.choice(size, 100, replace=False))
    attack = SampledExposure(sample=_some(secrets.view, sample), bits=math.log2(size))
    scores = attack.score(secrets.view)
    asked = torch.from_numpy(draw.integers(0, size, (models, 6)))
    if anew:
        member = settings.coins(seed, "language exposure anew", models, 6)
    else:
        asked[:, 0] = secrets.secret
        member = asked == secrets.secret.unsqueeze(1)
    return _separated(scores.gather(1, asked), member, ~member)


def _some(view: Any, which: "Tensor") -> Any:
    """The scores of some texts."""
    from ...attacks.language.view import TokenScores

    return TokenScores(logp=view.logp[:, which], inside=view.inside[which])


def _separated(
    scores: "Tensor", member: "Tensor", outside: "Tensor", *, mu: float | None = None
) -> Separated:
    return Separated(
        values_in=scores[member].numpy(),
        values_out=scores[outside].numpy(),
        independent=mu is not None,
        mu=mu,
    )


def _membership(
    attack: str,
    score: Callable[[Any], "Tensor"],
    setting: str,
    what: str,
    *,
    at_least: float,
    reaches: float | None = None,
) -> Control:
    """An attack that scores texts.

    Args:
        attack: its name.
        score: of texts or canaries, float64[models, texts].
        setting: in words.
        what: it looks at, "texts" or "canaries".
        at_least: see `Control`.
        reaches: likewise; None: it has no bounded run.
    """

    def outcome(how: str, seed: int, mu: float | None = None) -> Separated:
        from . import language_settings

        seen = getattr(language_settings, f"{how}_{what}")(seed)
        return _separated(score(seen), seen.member, seen.outside, mu=mu)

    def bounded(seed: int) -> Separated:
        from .language_settings import MU

        return outcome("uploaded", seed, MU)

    return Control(
        attack=attack,
        adversary="outsider",
        setting=setting,
        positive=lambda seed: outcome("tuned", seed),
        noise=lambda seed: outcome("untouched", seed),
        bounded=None if reaches is None else bounded,
        at_least=at_least,
        reaches=0.0 if reaches is None else reaches,
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
        private: `hit` in the bounded run; None: there is none.
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

    def below(named: _Hit, seed: int) -> Found:
        from .language_settings import SECRET_MU, uploaded_secrets

        return _found(named, uploaded_secrets(seed), mu=SECRET_MU)

    return Control(
        attack=attack,
        adversary="outsider",
        setting=_SECRETS,
        positive=positive,
        noise=noise,
        bounded=None if private is None else lambda seed: below(private, seed),
        at_least=at_least,
        reaches=reaches,
        assets=_ASSETS,
    )


CONTROLS: tuple[Control, ...] = (
    # Texts differ by more than one step moves them: noise to attacks that do not take it away.
    _membership("text_loss", _loss, _TEXTS, "texts", at_least=0.9),
    _membership("zlib_ratio", _zlib, _TEXTS, "texts", at_least=0.9),
    _membership("min_k", _min_k, _TEXTS, "texts", at_least=0.9),
    _membership("min_k_plus_plus", _min_k_plus_plus, _TEXTS, "texts", at_least=0.9),
    _membership("text_reference", _reference, _TEXTS, "texts", at_least=0.95, reaches=0.7),
    _membership("lira", _lira, _TEXTS, "texts", at_least=0.95, reaches=0.7),
    _membership("neighbourhood", _neighbourhood, _TEXTS, "texts", at_least=0.8),
    _membership("recall", _recall, _TEXTS, "texts", at_least=0.8),
    _membership("new_token_canary", _new_token, _CANARIES, "canaries", at_least=0.8, reaches=0.75),
    _secret("exposure", _likeliest, at_least=0.8, private=_most_of_its_own, reaches=0.5),
    # One short step does not change which token is the likeliest, with noise or without.
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
