"""A small system in each mode, and prompts for it."""

import numpy as np
import pytest
import torch

from privassay.mechanisms.secfpp import SecFPP
from privassay.mechanisms.secret_sharing.clustering import AdaptiveRule
from privassay.mechanisms.secret_sharing.setting import Setting
from privassay.mechanisms.secret_sharing.sound_dp import SoundDp

SETTING = Setting(clients=10, dimension=4, prompt_dimension=6)
RULE = AdaptiveRule(split_above=0.5, merge_below=0.1)


@pytest.fixture
def system():
    """(mode, setting, scale of the noise, fields of SecFPP) -> SecFPP."""

    def build(mode, setting=SETTING, scale=2.0, **fields):
        noise = None
        if mode == "sound_dp":
            noise = SoundDp(
                setting=setting, noise_point=scale, noise_count=scale, noise_prompt=scale
            )
        return SecFPP(mode=mode, setting=setting, noise=noise, rule=RULE, **fields)

    return build


@pytest.fixture
def prompts():
    """(seed, setting, domains) -> float64[N, prompt_dimension], a cloud around each domain."""

    def draw(seed=0, setting=SETTING, domains=3):
        source = np.random.default_rng(seed)
        middle = source.uniform(-0.6, 0.6, (domains, setting.prompt_dimension))
        home = source.integers(0, domains, setting.clients)
        spread = 0.05 * source.standard_normal((setting.clients, setting.prompt_dimension))
        return torch.from_numpy(np.clip(middle[home] + spread, -1, 1))

    return draw
