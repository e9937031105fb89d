"""DP-FPL's defects P1 to P3, P9 to P12 and P17: how far records move what leaves, and its noise."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ...accountant import gaussian
from ...accountant.calibrate import calibrate_gaussian
from ..base import Key, SeededKey, SystemKey
from ..clipping import Clip
from ..probes import noise, outbox
from ..probes.finding import Finding
from ..probes.sensitivity import Pair, neighbours, quoted, sensitivity
from ..prompt import Factors, PromptGradients, refactor
from ..released import dp_fpl as released
from ..released.dp_fpl import AsReleasedDpFpl
from .twins import (
    DIM,
    OTHERS,
    TARGET,
    Additive,
    Draw,
    Sample,
    defect,
    mu_claim,
    people,
)

LENGTH, WIDTH, RANK, BATCH, CLIENTS = 4, 6, 2, 8, 3
_KEY = SeededKey(21)
SYSTEM = AsReleasedDpFpl(batch=BATCH)
# Gradients of one direction and norm about 50: the batch mean is clipped.
EXAMPLES = 10.0 * torch.ones(BATCH, LENGTH, WIDTH, dtype=torch.float64) + _KEY.child(
    "examples"
).normal(BATCH, LENGTH, WIDTH)
CLIENT_EXAMPLES = EXAMPLES + _KEY.child("clients").normal(CLIENTS, 1, LENGTH, WIDTH)


def factors(*lead: int) -> Factors:
    """Of a random prompt for each client."""
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
    system = replace(SYSTEM, clip="example")
    found = system.clean(batch, factors())
    return {name: value * BATCH / system.clip_norm for name, value in found.items()}


def _one_vector(batch: Tensor) -> dict[str, Tensor]:
    mechanism = PromptGradients(clip_norm=10.0, noise_multiplier=1.0, batch=BATCH)
    return {"G": mechanism.contribution(batch.flatten(1)).sum(dim=0) / 10.0}


def _rounds(sigma: float) -> Additive:
    """The clipped sum of a batch in 100 rounds, with noise of `sigma` clip bounds."""
    rule = Clip(joint_norm=1.0)
    return Additive(
        clean=lambda rows: {"sums": rule.apply(rows, (DIM,)).sum(dim=0).expand(100, DIM)},
        stddevs={"sums": sigma},
    )


def _p3(program: Additive) -> Finding:
    return quoted(program.clean, neighbours(OTHERS, "zero-out"), stddevs=program.stddevs,
                  epsilon=0.4, delta=1e-5)  # fmt: skip


def _exact_sigma() -> float:
    mu = gaussian.mu_interval(0.4, 1e-5)[0]
    return calibrate_gaussian(mu=mu, rounds=100, adjacency="zero-out")


def _p9(step: outbox.Step) -> Finding:
    return outbox.unnoised(step, CLIENT_EXAMPLES, 2.0 * CLIENT_EXAMPLES.flip(1).roll(1, -1))


def _bare_upload(examples: Tensor, key: Key) -> dict[str, Tensor]:
    sent = SYSTEM.step(examples, factors(CLIENTS), key)
    return {"upload": sent.uploads, "g_u": sent.g_u, "g_v": sent.g_v}


def _noised_upload(examples: Tensor, key: Key) -> dict[str, Tensor]:
    mechanism = PromptGradients(clip_norm=10.0, noise_multiplier=1.0, batch=BATCH)
    return {"upload": mechanism.release(examples.flatten(-2), key)}


def _mean_of_clients(stddev: float) -> Additive:
    system = replace(SYSTEM, clip="example")
    return Additive(
        clean=lambda data: {"mean": system.gradient(data).mean(dim=0)}, stddevs={"mean": stddev}
    )


def _client_by_its_opposite() -> Pair:
    other = CLIENT_EXAMPLES.clone()
    other[0] = -other[0]
    return Pair("client 0 by its opposite", CLIENT_EXAMPLES, other)


def _p10(program: Additive) -> Finding:
    """Client level: the whole batch of a client is exchanged; noise is that on the mean."""
    return sensitivity(program.clean, [_client_by_its_opposite()], declared=1.0 / SYSTEM.sigma,
                       stddevs=program.stddevs, what="mu of one client in one round")  # fmt: skip


def _example_upload(clip: str) -> Additive:
    """What one client sends: noise for one of its examples, or for all of its data."""
    if clip == "example":
        system = replace(SYSTEM, clip="example")
        return Additive(
            clean=lambda data: {"upload": system.gradient(data[0])},
            stddevs={"upload": SYSTEM.stddev},
        )
    return Additive(
        clean=lambda data: {"upload": SYSTEM.gradient(data[0])},  # clips the mean over the batch
        stddevs={"upload": 2.0 * SYSTEM.clip_norm * SYSTEM.sigma},
    )


def _p11(program: Additive) -> Finding:
    """Local privacy: any data of the client by any other."""
    return sensitivity(program.clean, [_client_by_its_opposite()], declared=1.0 / SYSTEM.sigma,
                       stddevs=program.stddevs, what="mu of all data of a client")  # fmt: skip


def _batches(stddev: float) -> Sample:
    """Sum of eight clipped records of one client, all of which are exchanged."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        record = TARGET if world else -TARGET
        rows = Clip(joint_norm=1.0).apply(record.expand(BATCH, DIM), (DIM,))
        return rows.sum(dim=0) + stddev * key.normal(n, DIM)

    return Sample(draw)


def _p12(draw: Callable[[], Tensor]) -> Finding:
    return noise.reproducible(
        draw(), lambda seed: released.global_generator_noise(seed, (512,)), seeds=(1, 2, 3)
    )


def _promptfl(client: float, server: float) -> Callable[[Key], Tensor]:
    """Noise on the mean over ten clients' uploads in 4000 draws, in units of s."""

    def draw(key: Key) -> Tensor:
        uploads = client * key.child("clients").normal(10, 4000)
        return uploads.mean(dim=0) + server * key.child("server").normal(4000)

    return draw


def _p17(draw: Callable[[Key], Tensor]) -> Finding:
    """Every other row has noise of s / 10 on the mean."""
    return noise.variance(draw(_KEY.child("p17")), stddev=0.1)


def _seed_of_the_run(known: bool) -> Draw:
    """A sum with noise from the global generator, seeded with 1, 2 or 3, or with fresh noise."""

    def draw(world: int, n: int, key: SeededKey) -> Tensor:
        total = Clip(joint_norm=1.0).apply(people(world), (DIM,)).sum(dim=0)
        if not known:
            return total + key.normal(n, DIM)
        seeds = key.generator().integers(1, 4, n).tolist()
        return total + torch.stack([released.global_generator_noise(s, (DIM,)) for s in seeds])

    return draw


_defect = partial(defect, "dp-fpl")
DEFECTS = (
    _defect("P1", "the mean over the batch is clipped", SYSTEM, replace(SYSTEM, clip="example"),
            _p1),
    _defect("P2", "three mechanisms read the same batch on one budget", _three_tensors,
            _one_vector, _p2),
    _defect("P3", "the asymptotic formula at sampling rate 1", _rounds(AsReleasedDpFpl().sigma),
            _rounds(_exact_sigma()), _p3),
    _defect("P9", "the gradient of the global prompt goes up without noise", _bare_upload,
            _noised_upload, _p9),
    _defect("P10", "noise for one example under a client's name",
            _mean_of_clients(SYSTEM.stddev / CLIENTS),
            _mean_of_clients(2.0 * BATCH * SYSTEM.stddev / CLIENTS), _p10,
            (_batches(1.0), _batches(2.0 * BATCH)), mu_claim(adjacency="replace-one",
                                                             unit="client")),
    _defect("P11", "what is called local privacy protects one example of the client",
            _example_upload("example"), _example_upload("batch"), _p11,
            (_batches(2.0), _batches(2.0 * BATCH)), mu_claim(adjacency="replace-one",
                                                             unit="client")),
    _defect("P12", "noise from the global generator with seed 1",
            lambda: released.global_generator_noise(1, (512,)), lambda: SystemKey().normal(512),
            _p12, (Sample(_seed_of_the_run(True)), Sample(_seed_of_the_run(False))), mu_claim()),
    _defect("P17", "row promptfl is noised twice", _promptfl(1.0, 0.1), _promptfl(0.0, 0.1), _p17),
)  # fmt: skip
