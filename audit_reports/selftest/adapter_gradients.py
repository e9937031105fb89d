"""Controls of attacks on the gradients of adapters and prompts: one client, one record."""

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from .control import Control, Found
from .gradients import CANDIDATES, MU, gradient_control, identified, protected

if TYPE_CHECKING:
    from torch import Tensor

RANK = 8
LENGTH = 16  # tokens of a text; the gradients of query's and value's A have so many rows
SHORT = 6  # tokens that the gradient of one B tells apart


@cache
def _texts(length: int) -> "tuple[Any, Tensor]":
    """MiniLM, and int64[n, length], pieces of the descriptions of scikit-learn's data sets."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

    from ...fl_core.models.language import load_language_model

    words = " ".join(
        load().DESCR for load in (load_breast_cancer, load_diabetes, load_digits, load_wine)
    ).split()
    pieces = [" ".join(words[i : i + 9]) for i in range(0, len(words) - 9, 9)]
    model = load_language_model("minilm")
    return model, model.tokenizer.encode(pieces, length)


def _tokens(protection: str, *, first_round: bool = False) -> Callable[[int], Found]:
    """From the gradients of A, or of B in the first round, when that of A is zero."""

    def run(seed: int) -> Found:
        import torch

        from ...attacks.inversion.gradients.input_span import InputSpan
        from ...attacks.inversion.gradients.token_bag import TokenBag, bert_inputs
        from ...attacks.inversion.gradients.view import GradientView
        from ...fl_core.counters import Counter
        from ...fl_core.kernels.base import cross_entropy
        from ...fl_core.models.language_kernels import classifier
        from ...mechanisms.base import SeededKey

        trials, length = 60, SHORT if first_round else LENGTH
        model, texts = _texts(length)
        layers = tuple(f"encoder.layer.0.attention.self.{part}" for part in ("query", "value"))
        kernel = classifier(model, classes=2, rank=RANK, alpha=16.0, targets=layers)
        draw = torch.Generator().manual_seed(seed)
        among = torch.rand(trials, len(texts), generator=draw).argsort(dim=1)[:, :CANDIDATES]
        truth = torch.randint(CANDIDATES, (trials,), generator=draw)
        x = texts[among[torch.arange(trials), truth]]
        y = torch.randint(2, (trials, 1), generator=draw)
        one = torch.zeros(1, dtype=torch.int64)
        params = kernel.initial(Counter.of(SeededKey(seed), "model"), one, one)
        for name, value in params.items():
            if "lora_B" in name and not first_round:
                value.copy_(0.05 * torch.randn(value.shape, generator=draw))
        params = {name: value.expand(trials, *value.shape[1:]) for name, value in params.items()}
        found = kernel.gradients(params, x[:, None], y, torch.ones(trials, 1), cross_entropy, {})
        factor = "B" if first_round else "A"
        names = tuple(f"{layer}.lora_{factor}.weight" for layer in layers)
        seen = protected({name: found[name] for name in names}, protection, seed)
        view = GradientView(gradients=seen, params=params, batch=1)
        attack = TokenBag(
            span=InputSpan(names=() if first_round else names),
            images=names if first_round else (),
            inputs=bert_inputs(model.module),
            vocabulary=model.tokenizer.size,
            places=length,
            padding=model.tokenizer.padding,
        )
        scores = attack.score(view, texts[among])
        return identified(scores, truth, MU if protection == "noisy" else None)

    return run


def _prompt(protection: str) -> Callable[[int], Found]:
    def run(seed: int) -> Found:
        import torch

        from ...attacks.inversion.gradients.gradient_likelihood import GradientLikelihood
        from ...attacks.inversion.gradients.matching import forward_of
        from ...attacks.inversion.gradients.view import GradientView
        from ...fl_core.counters import Counter
        from ...fl_core.kernels.base import cross_entropy
        from ...mechanisms.base import SeededKey
        from .prompt_stand_in import stand_in

        trials, model = 150, stand_in()
        draw = torch.Generator().manual_seed(seed)
        among = torch.rand(trials, len(model.x), generator=draw).argsort(dim=1)[:, :CANDIDATES]
        truth = torch.randint(CANDIDATES, (trials,), generator=draw)
        own = among[torch.arange(trials), truth]
        x, y = model.x[own, None], model.y[own, None]
        one = torch.zeros(1, dtype=torch.int64)
        params = model.kernel.initial(Counter.of(SeededKey(seed), "prompt"), one, one)
        params = {name: value.expand(trials, *value.shape[1:]) for name, value in params.items()}
        found = model.kernel.gradients(params, x, y, torch.ones(trials, 1), cross_entropy, {})
        attack = GradientLikelihood(
            forward=forward_of(model.kernel),
            classes=len(model.kernel.text.names),
            labels=model.y[among],
            clip_norm=float("inf") if protection == "none" else 1.0,
        )
        seen = protected(found, protection, seed)
        view = GradientView(gradients=seen, params=params, batch=1)
        scores = attack.score(view, model.x[among])
        return identified(scores, truth, MU if protection == "noisy" else None)

    return run


CONTROLS: tuple[Control, ...] = (
    gradient_control(
        "token_bag",
        "gradient of MiniLM's adapters of rank 8, one text of 16 tokens, 100 candidates",
        _tokens,
        at_least=0.9,
        assets=("minilm",),
    ),
    gradient_control(
        "token_bag",
        "first round: gradient of MiniLM's B of rank 8, one text of 6 tokens, 1 of 100",
        partial(_tokens, first_round=True),
        at_least=0.9,
        assets=("minilm",),
    ),
    gradient_control(
        "gradient_likelihood",
        "gradient of a soft prompt of a stand-in dual encoder, one record, 100 candidates",
        _prompt,
        at_least=0.95,
    ),
)
