"""Bounded controls of the attacks on sums of prompts: what mode sound_dp of SecFPP releases.

Everything is granted but whether one client put in its prompt or zeros. `share` is how much of the
noise is really added: 1, but in the test that these controls can fail.
"""

import math
from functools import cache

import torch
from torch import Tensor

from ...attacks.prompts.differencing import Differencing
from ...attacks.prompts.openings import ClusterPrompts, Openings
from ...attacks.prompts.subtraction import Subtraction
from ...mechanisms.secret_sharing.clusterer import Clustered
from ...mechanisms.secret_sharing.masks import SeededSource
from ...mechanisms.secret_sharing.openings import Board
from ...mechanisms.secret_sharing.setting import Setting
from ...mechanisms.secret_sharing.sound_dp import SoundDp
from .control import Separated

_PROMPT = 6  # numbers of a prompt, which is clipped to norm 1
_NOISE = 0.7  # of a sum of prompts
_RUNS = 200  # with the client, and as many without it
_NOISY = Setting(
    clients=6, dimension=4, prompt_dimension=_PROMPT, colluders=1, clusters=2, iterations=2
)


@cache
def _sound_dp(share: float) -> SoundDp:
    noise = share * _NOISE
    return SoundDp(setting=_NOISY, noise_point=1.0, noise_count=1.0, noise_prompt=noise)


def _noisy_sums(assignments: tuple[Tensor, ...], seed: int, share: float) -> tuple[Tensor, Tensor]:
    """Prompts float64[clients, _PROMPT], and sums as mode sound_dp releases them.

    float64[2 * _RUNS, rounds, clusters, _PROMPT]: in the second half client 0 puts in zeros.
    """
    system, found = _sound_dp(share), []
    draw = torch.Generator().manual_seed(seed)
    prompts = torch.randn(_NOISY.clients, _PROMPT, generator=draw, dtype=torch.float64)
    prompts = torch.nn.functional.normalize(prompts)
    silent = prompts.clone()
    silent[0] = 0.0
    for run in range(2 * _RUNS):
        board, source = Board("sound_dp"), SeededSource(seed).child("noisy", len(assignments), run)
        for number, assignment in enumerate(assignments, start=1):
            clustered = Clustered(assignment, torch.bincount(assignment).double())
            rows = prompts if run < _RUNS else silent
            system.aggregate(rows, clustered, source=source, board=board, round=number)
        found.append(torch.stack([o.data for o in board.seen("cluster_prompt", to="all")]))
    return prompts, torch.stack(found)


def _took_part(scores: Tensor, *, rounds: int) -> Separated:
    """Of float64[runs, 2], client 0's prompt and zeros; the first half of the runs have it."""
    inside, outside = (scores[:, 0] - scores[:, 1]).chunk(2)
    return Separated(
        values_in=inside.numpy(),
        values_out=outside.numpy(),
        independent=True,
        mu=math.sqrt(rounds) / _sound_dp(1.0).prompt_sum.noise_multiplier,
    )


def subtraction_bounded(seed: int, *, share: float = 1.0) -> Separated:
    """One noisy cluster sum, of which all other prompts are known."""
    together = torch.zeros(_NOISY.clients, dtype=torch.int64)
    prompts, sums = _noisy_sums((together,), seed, share)
    view = ClusterPrompts(
        means=sums[:, 0, 0] / _NOISY.clients,
        sizes=torch.full((len(sums),), _NOISY.clients),
        own=prompts[1:].expand(len(sums), -1, -1),
    )
    both = torch.stack([prompts[0], torch.zeros(_PROMPT).double()]).expand(len(sums), -1, -1)
    return _took_part(Subtraction().score(view, both), rounds=1)


def differencing_bounded(seed: int, *, share: float = 1.0) -> Separated:
    """Noisy sums of two rounds with a moving client, of which all other prompts are known."""
    first = torch.arange(_NOISY.clients) // (_NOISY.clients // 2)
    second = first.clone()
    second[0] = 1
    prompts, sums = _noisy_sums((first, second), seed, share)
    summed = tuple(
        frozenset(torch.where(assignment == cluster)[0].tolist())
        for assignment in (first, second)
        for cluster in range(_NOISY.clusters)
    )
    attack = Differencing(target=0, known=dict(enumerate(prompts[1:], start=1)))
    both = torch.stack([prompts[0], torch.zeros(_PROMPT).double()])
    views = (
        Openings(clients=_NOISY.clients, sums=tuple(run.flatten(0, 1)), summed=summed)
        for run in sums
    )
    return _took_part(torch.stack([attack.score(view, both) for view in views]), rounds=2)
