"""Controls of prompt stealing and inference: secret-shared openings, updates, released prompts.

What runs lies in `prompt_openings` and `prompt_noisy_sums` (the real protocol of SecFPP) and in
`prompt_updates`, `prompt_inference` and `prompt_theft` (prompts of `prompt_stand_in`), imported
when a control runs.
"""

from collections.abc import Callable
from importlib import import_module

from .control import Control, Outcome


def _run(where: str, *settings: object) -> Callable[[int], Outcome]:
    """`module.function`, called with the seed, these settings, and what a test varies."""
    name, _, function = where.partition(".")

    def run(seed: int, **varied: object) -> Outcome:
        module = import_module(f"{__package__}.{name}")
        found: Outcome = getattr(module, function)(seed, *settings, **varied)
        return found

    return run


_DIGITS = "soft prompts on digits, random stand-in encoder"


CONTROLS: tuple[Control, ...] = (
    Control(
        attack="trilateration",
        adversary="server",
        setting="SecFPP as described, 12 clients, d' 4, one clustering; noise: sound_mpc",
        positive=_run("prompt_openings.trilateration", "as_described"),
        noise=_run("prompt_openings.trilateration", "sound_mpc"),
    ),
    Control(
        attack="slice_trilateration",
        adversary="server",
        setting="SecFPP as described, 24 clients, d' 16, K 4, one clustering; noise: zero-sharing",
        positive=_run("prompt_openings.slice_trilateration", True),
        noise=_run("prompt_openings.slice_trilateration", False),
        at_least=0.75,
    ),
    Control(
        attack="gram",
        adversary="server",
        setting="SecFPP as described, 12 clients, centres unknown, d' known; noise: sound_mpc",
        positive=_run("prompt_openings.gram", "as_described"),
        noise=_run("prompt_openings.gram", "sound_mpc"),
    ),
    Control(
        attack="subtraction",
        adversary="peer",
        setting="SecFPP as described, cluster of two; noise: the other sends zeros; sound_dp",
        positive=_run("prompt_openings.subtraction", True),
        noise=_run("prompt_openings.subtraction", False),
        bounded=_run("prompt_noisy_sums.subtraction_bounded"),
        reaches=0.5,
    ),
    Control(
        attack="differencing",
        adversary="server",
        setting="SecFPP as described, one client moves; noise: sound_mpc; sound_dp",
        positive=_run("prompt_openings.differencing", "as_described"),
        noise=_run("prompt_openings.differencing", "sound_mpc"),
        bounded=_run("prompt_noisy_sums.differencing_bounded"),
        reaches=0.5,
    ),
    Control(
        attack="mask_reuse",
        adversary="peer",
        setting="Lagrange code, K 2, two colluding holders, masks used twice; noise: fresh masks",
        positive=_run("prompt_openings.mask_reuse", True),
        noise=_run("prompt_openings.mask_reuse", False),
    ),
    Control(
        attack="update_reconstruction",
        adversary="server",
        setting=f"PromptFL, one unknown upload in a sum of three; {_DIGITS}",
        positive=_run("prompt_updates.update_reconstruction", True),
        noise=_run("prompt_updates.update_reconstruction", False),
        bounded=_run("prompt_updates.update_bounded"),
        reaches=0.7,
    ),
    Control(
        attack="peer_prompt",
        adversary="peer",
        setting=f"PromptFL, 2 rounds, mean or momentum, two of three clients collude; {_DIGITS}",
        positive=_run("prompt_updates.peer_prompt", True),
        noise=_run("prompt_updates.peer_prompt", False),
        bounded=_run("prompt_updates.peer_bounded"),
        reaches=0.6,
    ),
    Control(
        attack="nearest_tokens",
        adversary="outsider",
        setting=f"planted words after 10 steps of tuning; {_DIGITS}",
        positive=_run("prompt_updates.nearest_tokens", True),
        noise=_run("prompt_updates.nearest_tokens", False),
        bounded=_run("prompt_updates.tokens_bounded"),
        reaches=0.6,
    ),
    Control(
        attack="prompt_membership",
        adversary="outsider",
        setting=f"24 of 48 records, 30 % random labels; one step of DP-SGD; {_DIGITS}",
        positive=_run("prompt_inference.membership", True),
        noise=_run("prompt_inference.membership", False),
        bounded=_run("prompt_inference.membership_bounded"),
        at_least=0.66,
        reaches=0.65,
    ),
    Control(
        attack="lira",
        adversary="outsider",
        setting=f"20 shadow prompts, 24 of 48 records; one step of DP-SGD; {_DIGITS}",
        positive=_run("prompt_inference.lira", True),
        noise=_run("prompt_inference.lira", False),
        bounded=_run("prompt_inference.lira_bounded"),
        at_least=0.72,
        reaches=0.5,
    ),
    Control(
        attack="pipra",
        adversary="outsider",
        setting=f"judge trained on other prompts and records; one step of DP-SGD; {_DIGITS}",
        positive=_run("prompt_inference.pipra", True),
        noise=_run("prompt_inference.pipra", False),
        bounded=_run("prompt_inference.pipra_bounded"),
        at_least=0.7,
    ),
    Control(
        attack="property_inference",
        adversary="outsider",
        setting=f"half of the records of one class; a client with them or none; {_DIGITS}",
        positive=_run("prompt_inference.property_inference", True),
        noise=_run("prompt_inference.property_inference", False),
        bounded=_run("prompt_inference.property_bounded"),
        at_least=0.75,
        reaches=0.5,
    ),
    Control(
        attack="prompt_distillation",
        adversary="querier",
        setting="300 queries with logits; hit: 75 % of the accuracy gain; 3 of 4 targets needed; "
        + _DIGITS,
        positive=_run("prompt_theft.distillation", True),
        noise=_run("prompt_theft.distillation", False),
        at_least=0.75,
    ),
    Control(
        attack="class_feature_theft",
        adversary="querier",
        setting=f"300 queries with logits, no training; {_DIGITS}",
        positive=_run("prompt_theft.class_feature_theft", True),
        noise=_run("prompt_theft.class_feature_theft", False),
    ),
)
