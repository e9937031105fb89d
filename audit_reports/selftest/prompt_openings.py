"""Controls of the attacks on opened values: the real protocol of SecFPP, each trial its own run.

A trial draws all points and prompts afresh, and hides the target's among `CANDIDATES` others drawn
the same way; blind, it is found once in as many. Imported when a control runs. Noisy
sums are in `prompt_noisy_sums`.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from ...attacks.prompts.differencing import Differencing
from ...attacks.prompts.gram import Gram
from ...attacks.prompts.mask_reuse import ReusedMasks
from ...attacks.prompts.openings import ClusterPrompts, Openings, Shares
from ...attacks.prompts.slice_trilateration import SliceTrilateration
from ...attacks.prompts.subtraction import Subtraction
from ...attacks.prompts.trilateration import Trilateration
from ...mechanisms.secfpp import SecFPP
from ...mechanisms.secret_sharing.clustering import AdaptiveRule
from ...mechanisms.secret_sharing.lagrange import LagrangeCode
from ...mechanisms.secret_sharing.masks import SeededSource, uniform
from ...mechanisms.secret_sharing.openings import Board, Mode
from ...mechanisms.secret_sharing.rounds import Rounds
from ...mechanisms.secret_sharing.setting import Setting
from .control import Found

CANDIDATES, TRIALS = 50, 12
PRECISE = 1e-3  # relative error: far above 2^-16, far below any other candidate's
PROMPT = 6  # numbers of a prompt, which is clipped to 1 in each
_FITS = 4  # of the trials: what a fit of all points costs
_WHOLE = Setting(clients=12, dimension=4, prompt_dimension=PROMPT, iterations=2)
_SLICED = Setting(clients=24, dimension=16, prompt_dimension=PROMPT, slices=4)
_SPLITS = AdaptiveRule(split_above=0.05, merge_below=0.01, iterations=8, most=6)


def server_view(board: Board, clients: int, bits: int) -> Openings:
    """What the server reads on a board; with sums, where it reads cluster prompts."""
    distances = board.seen("distances", to="server")
    announced = board.seen("assignment", to="all")
    # The last step of a round announces two: the first belongs to its distances.
    of_step = {(a.round, a.step): a.data for a in reversed(announced)}
    sums, summed = [], []
    for opened in board.seen("cluster_prompt", to="server"):
        assignment = [a.data for a in announced if a.round == opened.round][-1]
        for cluster, mean in enumerate(opened.data):
            members = torch.where(assignment == cluster)[0].tolist()
            sums.append(mean * len(members))
            summed.append(frozenset(members))
    return Openings(
        clients=clients,
        assignments=tuple(of_step[d.round, d.step] for d in distances),
        distances=tuple(d.data for d in distances),
        slice_squares=tuple(o.data for o in board.seen("slice_distances", to="server")),
        bits=bits,
        sums=tuple(sums),
        summed=tuple(summed),
    )


def _uniform(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=draw, dtype=torch.float64) * 2.0 - 1.0


def _draw(seed: int, trial: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000 + trial)


def _hidden(draw: torch.Generator, truth: Tensor) -> tuple[Tensor, int]:
    """Candidates, uniform like `truth`, which stands at a random place among them."""
    candidates = _uniform(draw, CANDIDATES, *truth.shape)
    place = int(torch.randint(CANDIDATES, (1,), generator=draw))
    candidates[place] = truth
    return candidates, place


def _error(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def _found(hits: int, trials: int = TRIALS) -> Found:
    return Found(hits=hits, trials=trials, chance=1.0 / CANDIDATES)


@cache
def _clustered(
    seed: int, mode: Mode, sliced: bool, hidden_slices: bool = False
) -> tuple[tuple[Openings, Tensor], ...]:
    """Views of the server and the true points, one clustering per trial."""
    setting = _SLICED if sliced else _WHOLE
    found = []
    for trial in range(TRIALS):
        points = _uniform(_draw(seed, trial), setting.clients, setting.dimension)
        system = SecFPP(
            mode=mode, setting=setting, rule=_SPLITS, prompt_rounds=1, zero_sharing=hidden_slices
        )
        run = system.begin(source=SeededSource(seed).child(trial))
        run.round(torch.zeros(setting.clients, PROMPT), points=points)
        found.append((server_view(run.board, setting.clients, setting.points.bits), points))
    return tuple(found)


def _located(
    attack: Callable[..., Trilateration | SliceTrilateration],
    seed: int,
    trials: tuple[tuple[Openings, Tensor], ...],
    *,
    exactly: bool,
) -> Found:
    hits = 0
    for trial, (view, points) in enumerate(trials):
        draw = _draw(seed, 500 + trial)
        target = int(torch.randint(len(points), (1,), generator=draw))
        truth, known = points[target], points.clone()
        known[target] = torch.nan  # not the adversary's
        who = attack(known=known, target=target)
        candidates, place = _hidden(draw, truth)
        hit = int(who.score(view, candidates).argmax()) == place
        hits += hit and (not exactly or _error(who.reconstruct(view), truth) < PRECISE)
    return _found(hits)


def trilateration(seed: int, mode: Mode) -> Found:
    """A client's point, from all distances of one clustering and the others' points."""
    trials = _clustered(seed, mode, False)
    return _located(Trilateration, seed, trials, exactly=mode == "as_described")


def slice_trilateration(seed: int, opened: bool) -> Found:
    """The same with too few centres for whole distances; shares of zero hide the slices."""
    trials = _clustered(seed, "as_described", opened, not opened)
    return _located(SliceTrilateration, seed, trials, exactly=opened)


def gram(seed: int, mode: Mode) -> Found:
    """All points up to a motion: every distance between two of them is right."""
    exactly, hits = mode == "as_described", 0
    trials = _clustered(seed, mode, False)[: _FITS if exactly else TRIALS]
    attack = Gram(dimension=_WHOLE.dimension)
    for trial, (view, points) in enumerate(trials):
        candidates, place = _hidden(_draw(seed, 500 + trial), points)
        hit = int(attack.score(view, candidates).argmax()) == place
        if hit and exactly:
            gaps = attack.reconstruct(view).values - torch.cdist(points, points)
            hit = float(gaps.abs().max()) < PRECISE
        hits += hit
    return _found(hits, len(trials))


def subtraction(seed: int, data: bool) -> Found:
    """Two clients alone in a cluster as described; one of them subtracts itself.

    Without data the other one sends zeros.
    """
    hits = 0
    for trial in range(TRIALS):
        draw = _draw(seed, trial)
        points = 0.1 * _uniform(draw, _WHOLE.clients, _WHOLE.dimension)
        points[:2] = 0.9  # far from the others
        prompts = _uniform(draw, _WHOLE.clients, PROMPT)
        candidates, place = _hidden(draw, prompts[0])
        if not data:
            prompts[0] = 0.0
        system = SecFPP(mode="as_described", setting=_WHOLE, prompt_rounds=1)
        run = system.begin(source=SeededSource(seed).child(trial))
        served = run.round(prompts, points=points)
        assert run.clustered is not None
        size = run.clustered.sizes[run.clustered.assignment[1]].long()
        view = ClusterPrompts(means=served[1:2], sizes=size[None], own=prompts[None, 1:2])
        hit = int(Subtraction().score(view, candidates[None]).argmax()) == place
        if data:
            hit = hit and _error(Subtraction().reconstruct(view)[0], candidates[place]) < PRECISE
        hits += hit
    return _found(hits)


def differencing(seed: int, mode: Mode) -> Found:
    """A client that changes its cluster between two rounds, with static prompts."""
    hits = 0
    for trial in range(TRIALS):
        draw = _draw(seed, trial)
        points = 0.1 * _uniform(draw, _WHOLE.clients, _WHOLE.dimension)
        points[: _WHOLE.clients // 2] += 0.8
        moved = points.clone()
        moved[0] -= 0.8
        prompts = _uniform(draw, _WHOLE.clients, PROMPT)
        system = SecFPP(mode=mode, setting=_WHOLE, prompt_rounds=2, period=1)
        run: Rounds = system.begin(source=SeededSource(seed).child(trial))
        for now in (points, moved):
            run.round(prompts, points=now)
        view = server_view(run.board, _WHOLE.clients, _WHOLE.points.bits)
        candidates, place = _hidden(draw, prompts[0])
        attack = Differencing(target=0)
        hit = int(attack.score(view, candidates).argmax()) == place
        if mode == "as_described":
            solved = attack.reconstruct(view)
            hit = hit and bool(solved.isolated[0])
            hit = hit and _error(solved.prompts[0], prompts[0]) < PRECISE
        hits += hit
    return _found(hits)


def mask_reuse(seed: int, reused: bool) -> Found:
    """Two colluding holders of a code with two slices; what changed among other changes."""
    code = LagrangeCode(clients=10, slices=2, colluders=2)
    field, hits = code.within, 0
    holders = (3, 7)
    attack = ReusedMasks(modulus=field.modulus, betas=code.betas, slices=code.slices)
    for trial in range(TRIALS):
        source = SeededSource(seed).child("reuse", trial)
        first, second = (uniform(source.child(n), field, 2, PROMPT) for n in ("one", "two"))
        masks = [
            uniform(source.child("mask", 0 if reused else number), field, 2, PROMPT)
            for number in range(2)
        ]
        shares = [
            code.share(secret, mask)[list(holders)]
            for secret, mask in zip((first, second), masks, strict=True)
        ]
        view = Shares(
            first=shares[0], second=shares[1], alphas=tuple(code.alphas[h] for h in holders)
        )
        candidates = uniform(source.child("others"), field, CANDIDATES, 2, PROMPT)
        place = int(torch.randint(CANDIDATES, (1,), generator=_draw(seed, trial)))
        candidates[place] = field.sub(second, first)
        hits += int(attack.score(view, candidates).argmax()) == place
    return _found(hits)
