"""PromptFL: one context for all clients, averaged.

Source: Guo et al., arXiv:2208.11625. In the comparison of DP-FPL's authors this row is noised at
the client and again at the server; here it is noised once, wherever the run says.
"""

from ..kernels.prompts import Prompts, one_context
from ..models.text_tower import ClassText
from .prompt_federation import LocalTraining, PromptFederation


def prompt_fl(
    text: ClassText,
    *,
    scale: float,
    clients: int,
    training: LocalTraining = LocalTraining(),  # noqa: B008 - frozen
    words: str | None = None,
    local_only: bool = False,
) -> PromptFederation:
    """The algorithm.

    Args:
        text: the classes.
        scale: of the cosines.
        clients: public divisor of the sum of the changes.
        training: of the clients.
        words: the context begins as these words, as many tokens as it has vectors; else at random.
        local_only: nothing is shared: a control.

    Raises:
        ConfigError: the words have another number of tokens.
    """
    start = {} if words is None else {"context": text.tower.words(words)}
    kernel = Prompts(
        text=text, form=one_context(text.length, text.tower.width), scale=scale, start=start
    )
    return PromptFederation(
        kernel=kernel,
        shared=() if local_only else ("context",),
        divisor=float(clients),
        training=training,
    )
