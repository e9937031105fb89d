"""DP-FPL's defects P1 to P17, each with its twin and the probe that tells them apart."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import gaussian
from ...accountant.calibrate import calibrate_gaussian
from ..base import Key, SeededKey, SystemKey
from ..probes import contamination, declared, noise, outbox, theorem
from ..probes.finding import Finding
from ..probes.sensitivity import Pair, neighbours, sensitivity
from ..probes.taint import Node, taint
from ..prompt import Factors, PromptGradients, refactor
from ..released import dp_fpl as released
from ..released.dp_fpl import AsReleasedDpFpl
from .twins import Defect

LENGTH, WIDTH, RANK, BATCH, CLIENTS = 4, 6, 2, 8, 3
_KEY = SeededKey(21)
_SYSTEM = AsReleasedDpFpl(batch=BATCH)
# Gradients of one direction and norm about 50: the batch mean is clipped.
EXAMPLES = 10.0 * torch.ones(BATCH, LENGTH, WIDTH, dtype=torch.float64) + _KEY.child(
    "examples"
).normal(BATCH, LENGTH, WIDTH)
CLIENT_EXAMPLES = EXAMPLES + _KEY.child("clients").normal(CLIENTS, 1, LENGTH, WIDTH)


def _factors(*lead: int) -> Factors:
    return refactor(0.02 * _KEY.child("prompt").normal(*lead, LENGTH, WIDTH), RANK, _KEY)


def _p1(system: AsReleasedDpFpl) -> Finding:
    return sensitivity(
        lambda batch: system.gradient(torch.nan_to_num(batch)) * system.batch / system.clip_norm,
        neighbours(EXAMPLES, "zero-out"),
        declared=1.0,
        what="move of the clipped gradient over C/B",
    )


def _p2(clean: Callable[[Tensor], Mapping[str, Tensor]]) -> Finding:
    """In units of the noise that one mechanism would need."""
    return sensitivity(clean, neighbours(EXAMPLES, "zero-out"), declared=1.0,
                       what="move of all tensors from one batch over their noise")  # fmt: skip


def _three_tensors(batch: Tensor) -> dict[str, Tensor]:
    system = replace(_SYSTEM, clip="example")
    found = system.clean(batch, _factors())
    return {name: value * BATCH / system.clip_norm for name, value in found.items()}


def _one_vector(batch: Tensor) -> dict[str, Tensor]:
    mechanism = PromptGradients(clip_norm=10.0, noise_multiplier=1.0, batch=BATCH)
    return {"G": mechanism.contribution(batch.flatten(1)).sum(dim=0) / 10.0}


def _p3(sigma: float) -> Finding:
    event = dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(sigma), 100)
    return declared.quoted(event, adjacency="zero-out", epsilon=0.4, delta=1e-5,
                           what="100 rounds of one mechanism")  # fmt: skip


def _exact_sigma() -> float:
    mu = gaussian.mu_interval(0.4, 1e-5)[0]
    return calibrate_gaussian(mu=mu, rounds=100, adjacency="zero-out")


def _p4(arguments: Mapping[str, Any]) -> Finding:
    return declared.amplification(**arguments)


def _p5(graph: Sequence[Node]) -> Finding:
    return taint(graph, ["U, V"])


def _prompt_graph(pretrained: bool) -> tuple[Node, ...]:
    return (
        Node(name="images", private=True),
        Node(name="noisy gradients", parents=("images",), noised=True),
        Node(name="start", parents=("images",) if pretrained else ()),
        Node(name="personal prompt", parents=("start", "noisy gradients")),
        Node(name="U, V", parents=("personal prompt",)),
    )


def _p6(system: AsReleasedDpFpl) -> Finding:
    def step(data: Tensor, key: Key) -> dict[str, Tensor]:
        return {"personal gradient": system.step(data, _factors(CLIENTS), key).personal}

    return contamination.contamination(step, CLIENT_EXAMPLES)


def _p7(shared: bool) -> Finding:
    starts = torch.zeros(CLIENTS, 4, dtype=torch.float64)

    def step(data: Tensor, key: Key) -> dict[str, Tensor]:
        del key
        found = released.shared_momentum(starts, data, lr=0.1, momentum=0.9, shared=shared)
        return {"weights": found}

    return contamination.contamination(step, _KEY.child("p7").normal(CLIENTS, 4))


def _p8(groups: tuple[dict[int, int], dict[int, int], set[int]]) -> Finding:
    return declared.members(*groups)


def _real_members() -> tuple[dict[int, int], dict[int, int], set[int]]:
    trained = {i: i % 3 for i in range(30)}
    return trained, {100 + i: i % 3 for i in range(30)}, set(trained)


def _p9(step: outbox.Step) -> Finding:
    return outbox.unnoised(step, CLIENT_EXAMPLES, 2.0 * CLIENT_EXAMPLES.flip(1).roll(1, -1))


def _bare_upload(examples: Tensor, key: Key) -> dict[str, Tensor]:
    sent = _SYSTEM.step(examples, _factors(CLIENTS), key)
    return {"upload": sent.uploads, "g_u": sent.g_u, "g_v": sent.g_v}


def _noised_upload(examples: Tensor, key: Key) -> dict[str, Tensor]:
    mechanism = PromptGradients(clip_norm=10.0, noise_multiplier=1.0, batch=BATCH)
    return {"upload": mechanism.release(examples.flatten(-2), key)}


def _p10(stddev: float) -> Finding:
    """Client level: the whole batch of a client is exchanged; noise is that on the mean."""
    system = replace(_SYSTEM, clip="example")
    other = CLIENT_EXAMPLES.clone()
    other[0] = -other[0]
    return sensitivity(
        lambda data: system.gradient(data).mean(dim=0),
        [Pair("client 0 by its opposite", CLIENT_EXAMPLES, other)],
        declared=1.0 / system.sigma,
        stddevs=stddev,
        what="mu of one client in one round",
    )


def _p11(declaration: Mapping[str, object]) -> Finding:
    return declared.complete(declaration)


_DECLARED = {"unit": "example", "adjacency": "zero-out", "view": "outsider", "delta": 1e-5,
             "rounds": 100, "sampling_rate": 1.0, "sampler": "fixed batches"}  # fmt: skip


def _p12(draw: Callable[[], Tensor]) -> Finding:
    return noise.reproducible(
        draw(), lambda seed: released.global_generator_noise(seed, (512,)), seeds=(1, 2, 3)
    )


def _p13(system: AsReleasedDpFpl) -> Finding:
    def step(data: Tensor, key: Key) -> dict[str, Tensor]:
        return {"upload": system.step(data, _factors(CLIENTS), key).uploads}

    return contamination.contamination(step, CLIENT_EXAMPLES)


def _p14(made_on: Mapping[str, str]) -> Finding:
    return declared.choices(made_on)


def _p15(context: Callable[[Factors], Tensor]) -> Finding:
    prompt = 0.02 * _KEY.child("p15").normal(LENGTH, WIDTH)
    values = torch.linalg.svdvals(prompt)
    found = torch.linalg.svdvals(context(refactor(prompt, RANK, _KEY)))
    shown = ", ".join(f"{v:.3g}" for v in found.tolist()[:RANK])
    return theorem.agrees(found, values, what=f"spectrum of the context ({shown}, ..)",
                          tolerance=1e-9)  # fmt: skip


def _p16(reload: bool) -> Finding:
    def run(batches: Sequence[Tensor]) -> Tensor:
        start = torch.zeros(4, dtype=torch.float64)
        return released.train_round(
            start, torch.stack(list(batches)), lr=0.1, momentum=0.0, reload=reload
        )

    return contamination.surviving_steps(run, list(_KEY.child("p16").normal(5, 4)))


def _p17(stddev: float) -> Finding:
    """Noise on the mean over ten clients, in units of s: 1/10 in every other row."""
    return noise.variance(stddev * _KEY.child("p17").normal(4000), stddev=0.1)


def _defect(code: str, reason: str, bad: object, good: object,
            check: Callable[..., Finding]) -> Defect:  # fmt: skip
    return Defect(code=code, system="dp-fpl", reason=reason, bad=bad, good=good, check=check)


_PER_CLIENT = replace(_SYSTEM, state="per_client")
DEFECTS = (
    _defect("P1", "the mean over the batch is clipped", _SYSTEM, replace(_SYSTEM, clip="example"),
            _p1),
    _defect("P2", "three mechanisms read the same batch on one budget", _three_tensors,
            _one_vector, _p2),
    _defect("P3", "the asymptotic formula at sampling rate 1", AsReleasedDpFpl().sigma,
            _exact_sigma(), _p3),
    _defect("P4", "amplification for a schedule that is not Poisson",
            {"sampler": "shuffled batches", "secret": True, "rate": 0.1},
            {"sampler": "shuffled batches", "secret": True, "rate": 1.0}, _p4),
    _defect("P5", "refactoring a prompt that saw private data un-noised", _prompt_graph(True),
            _prompt_graph(False), _p5),
    _defect("P6", "every personal prompt takes the last client's gradient", _SYSTEM, _PER_CLIENT,
            _p6),
    _defect("P7", "one momentum buffer for all clients", True, False, _p7),
    _defect("P8", "the members of the attack were not trained on",
            released.called_members((20, 25, 40)), _real_members(), _p8),
    _defect("P9", "the gradient of the global prompt goes up without noise", _bare_upload,
            _noised_upload, _p9),
    _defect("P10", "noise for one example under a client's name", _SYSTEM.stddev / CLIENTS,
            2.0 * BATCH * _SYSTEM.stddev / CLIENTS, _p10),
    _defect("P11", "no unit and no relation are named", {"delta": 1e-5, "rounds": 100}, _DECLARED,
            _p11),
    _defect("P12", "noise from the global generator with seed 1",
            lambda: released.global_generator_noise(1, (512,)), lambda: SystemKey().normal(512),
            _p12),
    _defect("P13", "uploads are references to one tensor", replace(_SYSTEM, aliasing=True),
            _PER_CLIENT, _p13),
    _defect("P14", "best round and rank are chosen on test data",
            {"rank": "test accuracy", "round": "test accuracy", "sizes": "smallest client"},
            {"rank": "public", "round": "public", "sizes": "public"}, _p14),
    _defect("P15", "row dplora keeps U V alone: all its singular values are 1",
            lambda f: f.u @ f.v, lambda f: f.u @ f.v + f.residual, _p15),
    _defect("P16", "weights are loaded again before every batch", True, False, _p16),
    _defect("P17", "row promptfl is noised twice", released.promptfl_stddev(1.0, 10),
            math.sqrt(0.01), _p17),
)  # fmt: skip
