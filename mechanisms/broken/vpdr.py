"""VPDR's defects F1 to F16, each with its twin and the probe that tells them apart."""

from collections.abc import Callable
from dataclasses import dataclass

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import gaussian
from ...accountant.allocation import optimal_cost, optimal_stddevs
from ...accountant.calibrate import calibrate_gaussian
from ...accountant.events import GroupwiseGaussianDpEvent
from ...accountant.geometry import clip_mu
from ..base import Key, SeededKey
from ..clipping import Clip
from ..groups import by_score
from ..probes import declared, outbox, theorem
from ..probes.finding import Finding, worst
from ..probes.sensitivity import neighbours, sensitivity
from ..probes.taint import Node, taint
from ..prototypes import NoisyPrototypes
from ..released import vpdr_training as training
from ..released.vpdr import AsReleasedVpdr, rdp_sigma
from ..selection import f_scores
from .twins import DIM, OTHERS, Defect, people

DIMENSION, CHOSEN = 512, 154
_KEY = SeededKey(11)
_UNIT = Clip(joint_norm=1.0)


def _f1(choose: Callable[[Tensor, Key], Tensor]) -> Finding:
    scores = torch.linspace(0.0, 0.1, DIMENSION, dtype=torch.float64)
    overlaps = [float(choose(scores, _KEY.child(i))[-CHOSEN:].double().mean()) for i in range(200)]
    share = sum(overlaps) / len(overlaps)
    return theorem.at_least(share, 0.5, what="share of the true top dimensions that is chosen")


def _public_choice(scores: Tensor, key: Key) -> Tensor:
    del key
    groups = by_score(scores, CHOSEN, origin="public")
    return torch.zeros(DIMENSION).index_fill(0, torch.tensor(groups.order[:CHOSEN]), 1.0).bool()


def _f2(score: Callable[[Tensor, Tensor, int], Tensor]) -> Finding:
    labels = torch.arange(230) % 10
    features = SeededKey(2).normal(230, DIMENSION)
    found = score(features, labels, 10)
    distinct = float((found < found.max()).double().mean())
    return theorem.at_least(distinct, 0.5, what="share of dimensions below the largest score")


def _shapes() -> tuple[tuple[float, float], tuple[float, float], tuple[int, int]]:
    bounds, stddevs = AsReleasedVpdr().shape(DIMENSION)
    return bounds, stddevs, (CHOSEN, DIMENSION - CHOSEN)


def _prototypes(optimal: bool) -> NoisyPrototypes:
    bounds, stddevs, sizes = _shapes()
    if optimal:
        stddevs = optimal_stddevs(bounds, sizes, mu=clip_mu(stddevs, norm_bounds=bounds))  # type: ignore[assignment]
    return NoisyPrototypes(
        clip=Clip(group_norms=bounds), group_sizes=sizes, noise_stddevs=stddevs, public_count=1
    )


def _f3(mechanism: NoisyPrototypes) -> Finding:
    noise = mechanism.perturb(torch.zeros(2000, mechanism.dimension).double(), _KEY)
    groups = noise.split(mechanism.group_sizes, dim=-1)
    power = sum(float(part.square().sum(dim=-1).mean()) for part in groups)
    bounds = mechanism.clip.group_norms or ()
    mu = clip_mu(mechanism.noise_stddevs, norm_bounds=bounds)
    best = optimal_cost(bounds, mechanism.group_sizes, mu=mu)
    stds = ", ".join(f"{float(part.std()):.3f}" for part in groups)
    return theorem.at_least(
        best / power, 0.99, what=f"least noise power at this mu over measured (stds {stds})"
    )


def _f4(mechanism: NoisyPrototypes) -> Finding:
    parts = zip(mechanism.clip.group_norms or (), mechanism.group_sizes,
                mechanism.noise_stddevs, strict=True)  # fmt: skip
    worth = [c * c / (d * s**4) for c, d, s in parts]
    ratio = worth[0] / worth[1]
    return theorem.at_most(
        ratio, 2.0, what="worth of a chosen dimension, in others, for which the noise is optimal"
    )


def _f5(event: dpe.DpEvent) -> Finding:
    return declared.quoted(
        event, adjacency="replace-one", epsilon=1.0, delta=1e-5, what="one prototype"
    )


def _noise_by_group(legacy: bool) -> dpe.DpEvent:
    sigma = calibrate_gaussian(mu=gaussian.mu_interval(1.0, 1e-5)[0], rounds=1,
                               adjacency="zero-out")  # fmt: skip
    shape = AsReleasedVpdr(generation="legacy").shape(DIMENSION)[1] if legacy else (1.0, 1.0)
    return GroupwiseGaussianDpEvent([2.0 * sigma * s for s in shape], (1.0, 1.0), 1.0)


@dataclass(frozen=True)
class Pipeline:
    """Records -> class mean, and where its values come from."""

    mean: Callable[[Tensor], Tensor]
    graph: tuple[Node, ...]


def _trained_mean(records: Tensor) -> Tensor:
    """Two steps of training an adapter on the records, then their clipped mean."""
    adapter = torch.eye(DIM, dtype=torch.float64)
    for _ in range(2):
        adapter = adapter - 0.5 * (records @ adapter - records.roll(1, 0)).T @ records / 20.0
    return Clip(joint_norm=1.0).apply(records @ adapter, (DIM,)).sum(dim=0) / 20.0


def _frozen_mean(records: Tensor) -> Tensor:
    return _UNIT.apply(records, (DIM,)).sum(dim=0) / 20.0


_RECORDS = Node(name="records", private=True)
_NOISY = Node(name="prototype 1", parents=("records",), noised=True)


def _f6(pipeline: Pipeline) -> Finding:
    pairs = list(neighbours(OTHERS, "replace-one", huge=3.0))
    pairs = [pair for pair in pairs if torch.isfinite(pair.other).all()
             and torch.isfinite(pair.one).all()]  # fmt: skip
    moved = sensitivity(pipeline.mean, pairs, declared=2.0 / 20.0, what="move of the mean")
    flow = taint(pipeline.graph, ["encoder 2"])
    both = worst([flow, moved])
    return Finding(probe="taint and sensitivity", fired=both.fired,
                   text=f"{flow.text}; {moved.text}", measured=moved.measured,
                   declared=moved.declared)  # fmt: skip


def _clustered(records: Tensor) -> Tensor:
    """Centres times n_k / 2R, so that the declared sensitivity is 1."""
    cluster = training.first_neighbour_clusters(records)
    rows = _UNIT.apply(records, (DIM,))
    sizes = torch.bincount(cluster).unsqueeze(1).double()
    return training.cluster_means(rows, cluster) * sizes / 2.0


def _nearest_public(records: Tensor) -> Tensor:
    """The twin: sums of the records next to each of four public centres, over 2R."""
    centres = SeededKey(5).normal(4, DIM)
    rows = _UNIT.apply(records, (DIM,))
    near = (rows @ centres.T).argmax(dim=1)
    member = (near.unsqueeze(0) == torch.arange(4).unsqueeze(1)).double()
    return member @ rows / 2.0


def _f7(f: Callable[[Tensor], Tensor]) -> Finding:
    return sensitivity(f, neighbours(OTHERS, "replace-one"), declared=1.0,
                       what="move of the centres over 2R/n_k")  # fmt: skip


Labelled = tuple[Tensor, Tensor]


def _released_upload(data: Labelled, key: Key) -> dict[str, Tensor]:
    found = AsReleasedVpdr(scheme="igpp", radius=1.0).upload(*data, 3, key)
    return {"prototypes": found.prototypes, "present": found.present}


def _sound_upload(data: Labelled, key: Key) -> dict[str, Tensor]:
    mechanism = NoisyPrototypes(clip=_UNIT, group_sizes=(DIM,), noise_stddevs=(1.0,),
                                public_count=10)  # fmt: skip
    return {"prototypes": mechanism.perturb(mechanism.statistic(*data, 3), key)}


def _f8(upload: outbox.Step) -> Finding:
    labels = torch.cat([torch.arange(20) % 2, torch.tensor([2])])
    return outbox.unnoised(upload, (people(1), labels), (people(0), labels[:20]))


def _f9(spent_and_declared: tuple[float, float]) -> Finding:
    spent, total = spent_and_declared
    return theorem.at_most(spent, total * (1.0 + 1e-9), what="epsilon spent by the ledger")


def _igpp_spent() -> tuple[float, float]:
    system = AsReleasedVpdr(scheme="igpp", epsilon=1.0)
    return system.epsilon + system.rounds * system.budget.selection, system.epsilon


def _vpp_spent() -> tuple[float, float]:
    system = AsReleasedVpdr(scheme="vpp", epsilon=1.0)
    return system.budget.spent, system.epsilon


def _f10(loss: Callable[[Tensor, Tensor], Tensor]) -> Finding:
    own = SeededKey(3).normal(8, DIM)
    return theorem.gradient_vanishes(lambda features: loss(features, own), own)


def _f11(projection: Tensor) -> Finding:
    share = training.projected_noise_share(projection)
    return theorem.at_least(share, 1.0, what="share of the noise inside the image of the encoder")


def _f12(arguments: tuple[int, float, int]) -> Finding:
    snr = training.prototype_snr(*arguments)
    return theorem.at_least(snr, 1.0, what="signal over noise of one class")


def _exact_sigma(epsilon: float, delta: float, rounds: int) -> float:
    mu = gaussian.mu_interval(epsilon, delta)[0]
    return calibrate_gaussian(mu=mu, rounds=rounds, adjacency="zero-out")


def _f13(calibration: Callable[[float, float, int], float]) -> Finding:
    ratio = _exact_sigma(1.0, 1e-5, 20) / calibration(1.0, 1e-5, 20)
    return theorem.at_least(ratio, 0.999, what="noise that is needed over noise that is added")


def _f14(aggregate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Finding:
    noisy = SeededKey(4).normal(3, 2, DIM)
    present = torch.tensor([[True, True], [True, False], [True, True]])
    sizes = torch.tensor([100, 10, 55])
    return outbox.unnoised(
        lambda private, key: {"aggregate": aggregate(noisy, present, private)},
        sizes,
        sizes + torch.tensor([1, 0, 0]),
    )


def _f15(encode: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]) -> Finding:
    return outbox.unnoised(lambda rows, key: encode(rows)[1], people(0), people(1)[1:])


def _f16(inputs: Callable[[Tensor, Key], Tensor]) -> Finding:
    images = SeededKey(6).normal(16, 3, 4)
    return theorem.agrees(inputs(images, _KEY), images, what="the test set as it is loaded")


def _defect(code: str, reason: str, bad: object, good: object,
            check: Callable[..., Finding]) -> Defect:  # fmt: skip
    return Defect(code=code, system="vpdr", reason=reason, bad=bad, good=good, check=check)


DEFECTS = (
    _defect("F1", "the noise of the choice dwarfs the scores",
            lambda s, key: AsReleasedVpdr(epsilon=1.0).choice(DIMENSION).release(s, key),
            _public_choice, _f1),
    _defect("F2", "the clamp at 0.1 makes all scores equal",
            lambda x, y, c: f_scores(x, y, c).clamp(0.0, 0.1), f_scores, _f2),
    _defect("F3", "noise by group has 1.38 times the power that this mu needs",
            _prototypes(False), _prototypes(True), _f3),
    _defect("F4", "optimal only where a chosen dimension is worth 12.6 others",
            _prototypes(False), _prototypes(True), _f4),
    _defect("F5", "noise scaled by sqrt(d_g / D) with a global clip",
            _noise_by_group(True), _noise_by_group(False), _f5),
    _defect("F6", "adapters are trained on the records between uploads",
            Pipeline(_trained_mean, (_RECORDS, _NOISY, Node(name="encoder 2",
                                                            parents=("records", "prototype 1")))),
            Pipeline(_frozen_mean, (_RECORDS, _NOISY, Node(name="encoder 2",
                                                           parents=("prototype 1",)))), _f6),
    _defect("F7", "clusters of the client's own records, noise 2R/n_k", _clustered,
            _nearest_public, _f7),
    _defect("F8", "true counts scale the noise, absent classes are left out", _released_upload,
            _sound_upload, _f8),
    _defect("F9", "the partition is chosen and not paid for", _igpp_spent(), _vpp_spent(), _f9),
    _defect("F10", "the alignment loss is broadcast over the batch",
            training.alignment_loss_as_released, training.alignment_loss, _f10),
    _defect("F11", "192 dimensions are raised to 512 before noise",
            SeededKey(7).normal(192, 512), torch.eye(192, dtype=torch.float64), _f11),
    _defect("F12", "prototypes are far below the noise", (23, rdp_sigma(1.0, 1e-5, 20), 512),
            (600, _exact_sigma(8.0, 1e-5, 1), 192), _f12),
    _defect("F13", "the classic Renyi conversion for a stack of Gaussians", rdp_sigma,
            _exact_sigma, _f13),
    _defect("F14", "clients are weighted by true sizes", training.weighted_by_size,
            training.equally_weighted, _f14),
    _defect("F15", "running statistics of private batches stay in the encoder",
            training.normalising_encoder(True), training.normalising_encoder(False), _f15),
    _defect("F16", "the test set inherits random flips",
            lambda x, key: training.loaded_test_set(x, key, inherited=True),
            lambda x, key: training.loaded_test_set(x, key, inherited=False), _f16),
)  # fmt: skip
