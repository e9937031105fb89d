"""Rounds of SecFPP on made-up clients, and sums by hand."""

import numpy as np
import torch

from privassay.mechanisms.secret_sharing.clustering import AdaptiveRule
from privassay.mechanisms.secret_sharing.masks import SystemSource
from privassay.mechanisms.secret_sharing.setting import Setting
from privassay.mechanisms.secret_sharing.sound_dp import SoundDp

RULE = AdaptiveRule(split_above=0.6, merge_below=0.1)
SMALL = Setting(clients=10, dimension=16, prompt_dimension=7)


def inputs(seed, setting, domains=3):
    draw = np.random.default_rng(seed)
    middle = draw.uniform(-0.8, 0.8, (domains, setting.dimension))
    home = draw.integers(0, domains, setting.clients)
    spread = 0.1 * draw.standard_normal((setting.clients, setting.dimension))
    points = np.clip(middle[home] + spread, -1, 1)
    prompts = draw.uniform(-1, 1, (setting.clients, setting.prompt_dimension))
    return torch.from_numpy(points), torch.from_numpy(prompts)


def one_round(system, points, prompts, *, source=None, senders=None):
    """A run after its first round, and what it served."""
    run = system.begin(source=source or SystemSource())
    return run, run.round(prompts, points=points, senders=senders)


def noise(setting, scale=8.0, **changes):
    fields = {"noise_point": scale, "noise_count": scale, "noise_prompt": scale}
    return SoundDp(setting=setting, **(fields | changes))
