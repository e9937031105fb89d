"""How much noise `sound_dp` gets at a budget."""

from functools import lru_cache

import dp_accounting.dp_event as dpe

from ...accountant.adjacency import Adjacency
from ...accountant.calibrate import calibrate
from ...mechanisms.secret_sharing.setting import Setting
from ...mechanisms.secret_sharing.sound_dp import SoundDp


def _sound(setting: Setting, multiplier: float, clips: tuple[float, float]) -> SoundDp:
    point, prompt = clips
    return SoundDp(
        setting=setting,
        clip_point=point,
        clip_prompt=prompt,
        noise_point=multiplier * point,
        noise_count=multiplier,
        noise_prompt=multiplier * prompt,
    )


@lru_cache
def noise_for(
    setting: Setting,
    *,
    epsilon: float,
    delta: float,
    adjacency: Adjacency,
    clusterings: int,
    prompts: int,
    clips: tuple[float, float],
) -> SoundDp:
    """The same noise multiplier on centres, counts and prompts, which just meets the budget.

    Args:
        setting: the public constants.
        epsilon: the budget of one client.
        delta: of the budget.
        adjacency: of the budget.
        clusterings: releases of centres and counts in a run.
        prompts: releases of prompts in a run.
        clips: of a reduced prompt, and of a prompt.
    """

    def event(multiplier: float) -> dpe.DpEvent:
        return _sound(setting, multiplier, clips).event(
            adjacency=adjacency, clusterings=clusterings, prompts=prompts
        )

    multiplier = calibrate(
        event, epsilon=epsilon, delta=delta, adjacency=adjacency, unit="client", bracket=(0.5, 1e4)
    )
    return _sound(setting, multiplier, clips)
