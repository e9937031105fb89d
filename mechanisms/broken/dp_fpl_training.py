"""DP-FPL's defects P4 to P8 and P13 to P16: sampling, training state, choices and evidence."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..base import Key, SeededKey
from ..clipping import Clip
from ..laplace import laplace_like
from ..probes import contamination, evidence, outbox, replay, sampling, theorem
from ..probes.finding import Finding
from ..prompt import Factors, refactor
from ..released import dp_fpl as released
from ..released.dp_fpl import AsReleasedDpFpl
from .dp_fpl import CLIENT_EXAMPLES, CLIENTS, LENGTH, RANK, SYSTEM, WIDTH, factors
from .twins import (
    DIM,
    both,
    defect,
    mu_claim,
    people,
    with_noise,
)

_KEY = SeededKey(22)


RECORDS, RATE = 20, 0.1


def _shuffled(key: Key) -> Tensor:
    """The first batch of an epoch: two of twenty records in a random order."""
    order = torch.from_numpy(key.generator().permutation(RECORDS))
    return order < int(RECORDS * RATE)


def _coins(key: Key) -> Tensor:
    return torch.from_numpy(key.generator().random(RECORDS) < RATE)


def _p4(batch: Callable[[Key], Tensor]) -> Finding:
    return sampling.poisson(batch, rate=RATE)


def _trained_prompt(pretrained: bool) -> replay.Program:
    """Three steps on noised gradients from a start that is public, or trained on the records."""
    rule, public = Clip(joint_norm=1.0), 0.02 * _KEY.child("start").normal(DIM, DIM)

    def program(records: Tensor, privatise: replay.Privatise) -> dict[str, Tensor]:
        prompt = public
        if pretrained:
            prompt = prompt + torch.outer(records.sum(dim=0), torch.ones(DIM).double()) / DIM
        for _ in range(3):
            gradients = rule.apply((records @ prompt).tanh() - records, (DIM,))
            prompt = prompt - 0.1 * privatise("gradient", gradients.sum(dim=0)).unsqueeze(1)
        factors = refactor(prompt, RANK, _KEY.child("p5"))
        return {"U": factors.u, "V": factors.v, "rest": factors.residual}

    return program


def _p5(program: replay.Program) -> Finding:
    return replay.post_processing(program, people(1), people(0))


def _p6(system: AsReleasedDpFpl) -> Finding:
    def step(data: Tensor, key: Key) -> dict[str, Tensor]:
        return {"personal gradient": system.step(data, factors(CLIENTS), key).personal}

    return contamination.contamination(step, CLIENT_EXAMPLES)


def _p7(shared: bool) -> Finding:
    starts = torch.zeros(CLIENTS, 4, dtype=torch.float64)

    def step(data: Tensor, key: Key) -> dict[str, Tensor]:
        del key
        found = released.shared_momentum(starts, data, lr=0.1, momentum=0.9, shared=shared)
        return {"weights": found}

    return contamination.contamination(step, _KEY.child("p7").normal(CLIENTS, 4))


def _p8(groups: tuple[dict[int, int], dict[int, int], set[int]]) -> Finding:
    return evidence.members(*groups)


def _real_members() -> tuple[dict[int, int], dict[int, int], set[int]]:
    trained = {i: i % 3 for i in range(30)}
    return trained, {100 + i: i % 3 for i in range(30)}, set(trained)


def _p13(system: AsReleasedDpFpl) -> Finding:
    def step(data: Tensor, key: Key) -> dict[str, Tensor]:
        return {"upload": system.step(data, factors(CLIENTS), key).uploads}

    return contamination.contamination(step, CLIENT_EXAMPLES)


def _best_rank(noised: bool) -> outbox.Step:
    """The best of four public classifiers on private test records, and how good it is."""
    directions = _KEY.child("ranks").normal(4, DIM)

    def step(records: Tensor, key: Key) -> dict[str, Tensor]:
        right = (records @ directions.T > 0).double().sum(dim=0)
        if noised:  # a record adds at most 1 to each of four counts: epsilon is 1
            right = right + 4.0 * laplace_like(right, key)
        return {"rank": right.argmax(), "right": right.max()}

    return step


def _test_records(world: int) -> Tensor:
    """Five records that only the first classifier gets right, and five or six for the second."""
    directions = _KEY.child("ranks").normal(4, DIM)
    only = torch.linalg.pinv(directions) @ (2.0 * torch.eye(4).double() - 1.0)
    first, second = only[:, 0], only[:, 1]
    return torch.stack([first] * 5 + [second] * (5 + world))


def _p14(step: outbox.Step) -> Finding:
    return outbox.unnoised(step, _test_records(1), _test_records(0))


def _p15(context: Callable[[Factors], Tensor]) -> Finding:
    prompt = 0.02 * _KEY.child("p15").normal(LENGTH, WIDTH)
    values = torch.linalg.svdvals(prompt)
    found = torch.linalg.svdvals(context(refactor(prompt, RANK, _KEY)))
    shown = ", ".join(f"{v:.3g}" for v in found.tolist()[:RANK])
    return theorem.agrees(found, values, what=f"spectrum of the context ({shown}, ..)",
                          tolerance=1e-9)  # fmt: skip


State = tuple[Tensor, Tensor]
Round = Callable[[State, Sequence[Tensor]], State]


def sgd_round(*, reload: bool, momentum: float) -> Round:
    """A round of SGD: (weights and momentum buffer, batches) -> the same after it.

    With `reload` each batch starts from the weights that were stored before the round.
    """

    def run(state: State, batches: Sequence[Tensor]) -> State:
        start, buffer = state
        weights = start
        for target in batches:
            base = start if reload else weights
            buffer = momentum * buffer + (base - target)  # gradient of |w - target|^2 / 2
            weights = base - 0.1 * buffer
        return weights, buffer

    return run


def _p16(run: Round) -> Finding:
    start = (torch.zeros(4, dtype=torch.float64),) * 2
    return contamination.surviving_rounds(run, start, list(_KEY.child("p16").normal(5, 4)))


_defect = partial(defect, "dp-fpl")
_PER_CLIENT = replace(SYSTEM, state="per_client")


_noised = partial(with_noise, stddev=math.sqrt(3.0))  # three steps at mu = 1 in all
_PROMPTS = _trained_prompt(True), _trained_prompt(False)
DEFECTS = (
    _defect("P4", "amplification for a schedule that is not Poisson", _shuffled, _coins, _p4),
    _defect("P5", "refactoring a prompt that saw private data un-noised", *_PROMPTS, _p5,
            both(_noised(_PROMPTS[0]), _noised(_PROMPTS[1]), people(0), people(1)),
            mu_claim()),
    _defect("P6", "every personal prompt takes the last client's gradient", SYSTEM, _PER_CLIENT,
            _p6),
    _defect("P7", "one momentum buffer for all clients", True, False, _p7),
    _defect("P8", "the members of the attack were not trained on",
            released.called_members((20, 25, 40)), _real_members(), _p8),
    _defect("P13", "uploads are references to one tensor", replace(SYSTEM, aliasing=True),
            _PER_CLIENT, _p13),
    _defect("P14", "best round and rank are chosen on test data", _best_rank(False),
            _best_rank(True), _p14,
            both(_best_rank(False), _best_rank(True), _test_records(0), _test_records(1)),
            {"epsilon": 1.0, "delta": 0.0, "adjacency": "add-remove", "unit": "example"}),
    _defect("P15", "row dplora keeps U V alone: all its singular values are 1",
            lambda f: f.u @ f.v, lambda f: f.u @ f.v + f.residual, _p15),
    _defect("P16", "weights are loaded again before every batch",
            sgd_round(reload=True, momentum=0.9), sgd_round(reload=False, momentum=0.9), _p16),
)  # fmt: skip
