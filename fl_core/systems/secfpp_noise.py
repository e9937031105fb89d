"""The protocols that a file of SecFPP asks for, and how much noise `sound_dp` gets at a budget."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import dp_accounting.dp_event as dpe

from ...accountant.adjacency import Adjacency
from ...accountant.calibrate import calibrate
from ...mechanisms.secfpp import SecFPP
from ...mechanisms.secret_sharing.clustering import AdaptiveRule
from ...mechanisms.secret_sharing.openings import Mode
from ...mechanisms.secret_sharing.setting import Setting
from ...mechanisms.secret_sharing.sound_dp import SoundDp
from .base import budget
from .secfpp import DESCRIBED, DP, MPC, SecFppFile

_MODES: dict[str, Mode] = {DESCRIBED: "as_described", MPC: "sound_mpc", DP: "sound_dp"}


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

    with budget(epsilon, delta):
        multiplier = calibrate(
            event,
            epsilon=epsilon,
            delta=delta,
            adjacency=adjacency,
            unit="client",
            bracket=(0.5, 1e4),
        )
    return _sound(setting, multiplier, clips)


@dataclass(frozen=True, kw_only=True, eq=False)
class Protocol:
    """What clients compute on secret shares, whoever their records are of.

    Attributes:
        file: what was asked for.
        prompt_dimension: numbers of a prompt.
    """

    file: SecFppFile
    prompt_dimension: int

    @cached_property
    def setting(self) -> Setting:
        """The public constants; `ParameterError` where they do not fit together."""
        system = self.file.system
        return Setting(
            clients=self.file.data.clients,
            dimension=system.dimension,
            prompt_dimension=self.prompt_dimension,
            slices=system.slices,
            colluders=system.colluders,
            clusters=system.clusters,
            iterations=system.iterations,
        )

    def system(self, mode: str, asked: float | None) -> SecFPP:
        """The system in a mode; with noise for the budget that is asked for, where it has any."""
        system, noise = self.file.system, None
        if mode == DP:
            assert asked is not None  # by the plan
            noise = self._noise(asked)
        return SecFPP(
            mode=_MODES[mode],
            setting=self.setting,
            rule=AdaptiveRule(
                split_above=system.split_above,
                merge_below=system.merge_below,
                most=system.clusters,
                iterations=system.iterations,
            ),
            noise=noise,
            prompt_rounds=system.rounds,
            period=system.period,
            seed=self.file.seed,
        )

    def check(self) -> None:
        """Raise `ParameterError` now if one of the rows cannot be run."""
        for mode in (DESCRIBED, MPC):
            self.system(mode, None)
        for epsilon in self.file.compare.epsilons:
            self.system(DP, epsilon)

    def _noise(self, epsilon: float) -> SoundDp:
        """The same noise multiplier on centres, counts and prompts, which just meets the budget."""
        system, claim = self.file.system, self.file.claim
        return noise_for(
            self.setting,
            epsilon=epsilon,
            delta=claim.delta,
            adjacency=claim.adjacency,
            clusterings=-(-system.rounds // system.period) * system.iterations,
            prompts=system.rounds,
            clips=(system.clip_point, system.clip_prompt),
        )
