"""An event tree in words: which releases it holds, and what must be true of them."""

import math
from typing import Any, NamedTuple

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import events
from .adjacency import ADJACENCIES
from .digits import at_least, at_most

_MOST_NODES = 200_000  # of a tree that is walked; a larger one is described as far as that


class Releases(NamedTuple):
    """What an event holds.

    Attributes:
        counts: how many releases there are of each kind, by its description, in order.
        assumptions: what must be true, one sentence each.
        is_whole: whether the whole tree was walked.
    """

    counts: dict[str, int]
    assumptions: tuple[str, ...]
    is_whole: bool


def releases(event: dpe.DpEvent, unit: str = "example") -> Releases:
    """The releases in `event`, described for readers, and the assumptions that they carry.

    Noise is rounded down and sampling rates are rounded up, to six digits.

    >>> found = releases(dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(2.0), 30))
    >>> found.counts
    {'Gaussian noise of 2 times the largest contribution': 30}
    """
    counts: dict[str, int] = {}
    needs: set[str] = set()
    stack: list[tuple[dpe.DpEvent, int, tuple[str, ...]]] = [(event, 1, ())]
    for _ in range(_MOST_NODES):
        if not stack:
            break
        node, count, around = stack.pop()
        if isinstance(node, dpe.SelfComposedDpEvent):
            stack.append((node.event, count * node.count, around))
        elif isinstance(node, dpe.ComposedDpEvent):
            stack.extend((child, count, around) for child in reversed(node.events))
        elif isinstance(node, events.ParallelDpEvent):
            needs.add(node.partition)
            inside = (f"on one part of the data, split by {node.partition}", *around)
            stack.extend((child, count, inside) for child in reversed(node.events))
        elif isinstance(node, events.RestrictedDpEvent):
            holds = f"which holds under {' and '.join(node.adjacencies)} only"
            everywhere = len(node.adjacencies) == len(ADJACENCIES)
            stack.append((node.event, count, around if everywhere else (holds, *around)))
        elif (found := _around(node, unit)) is not None:
            words, need = found
            needs.add(need)
            stack.append((getattr(node, "event"), count, (words, *around)))  # noqa: B009
        elif not isinstance(node, dpe.NoOpDpEvent) and count:
            words, own = _single(node)
            needs.update(own)
            text = ", ".join((words, *around))
            counts[text] = counts.get(text, 0) + count
    texts = tuple(text.format(unit=unit) for key, text in _NEEDS.items() if key in needs)
    return Releases(counts, texts, not stack)


def _around(node: dpe.DpEvent, unit: str) -> tuple[str, str] | None:
    """Words for an event that runs another one in a certain way, and the key of what it needs."""
    match node:
        case dpe.PoissonSampledDpEvent():
            rate = at_most(node.sampling_probability, 6)
            return f"on a Poisson sample of rate {rate}", "poisson"
        case dpe.SampledWithoutReplacementDpEvent():
            sizes = f"{node.sample_size} of {node.source_dataset_size}"
            return f"on {sizes} records drawn without replacement", "fixed size"
        case dpe.SampledWithReplacementDpEvent():
            sizes = f"{node.sample_size} of {node.source_dataset_size}"
            return f"on {sizes} records drawn with replacement", "fixed size"
        case dpe.RepeatAndSelectDpEvent():
            mean = at_most(node.mean, 6)
            return f"in a search that keeps the best of {mean} runs on average", "search"
        case events.RandomAllocationDpEvent():
            steps = f"{node.chosen} of {node.steps} steps"
            return f"in {steps} drawn at random for each {unit}", "allocation"
        case events.ShuffledBatchesDpEvent():
            return f"on each of {node.batches} fixed batches of an epoch", "batches"
        case events.ShuffledDpEvent():
            return f"by each of {node.users} users, then shuffled", "shuffler"
    return None


def _single(node: dpe.DpEvent) -> tuple[str, tuple[str, ...]]:
    """Words for one release, and the keys of what it needs."""
    real, whole, proof = ("clip", "noise"), ("clip", "exact noise"), ("proof",)
    match node:
        case dpe.GaussianDpEvent():
            return _noise("Gaussian noise", node.noise_multiplier), real
        case dpe.LaplaceDpEvent():
            return _noise("Laplace noise", node.noise_multiplier), real
        case events.GroupwiseGaussianDpEvent():
            pairs = zip(node.noise_stddevs, node.norm_bounds, strict=True)
            least = min((s / b for s, b in pairs if b > 0.0), default=math.inf)
            groups = f"in each of {len(node.norm_bounds)} groups of coordinates"
            return f"Gaussian noise {groups}, of {at_least(least, 6)} times the bound or more", real
        case events.CorrelatedGaussianDpEvent():
            size = f"{len(node.covariance)} coordinates for a norm of {at_most(node.norm_bound, 6)}"
            return f"Gaussian noise correlated over {size}", real
        case dpe.MixtureOfGaussiansDpEvent():
            stddev = at_least(node.standard_deviation, 6)
            return f"Gaussian noise of {stddev} on a contribution of random size", real
        case dpe.TruncatedSubsampledGaussianDpEvent():
            words = _noise("Gaussian noise", node.noise_multiplier)
            rate, most = at_most(node.sampling_probability, 6), node.truncated_batch_size
            sample = f"on a Poisson sample of rate {rate} cut to {most} of {node.dataset_size}"
            return f"{words}, {sample}", (*real, "poisson")
        case dpe.SingleEpochTreeAggregationDpEvent():
            words = _noise("Gaussian noise", node.noise_multiplier)
            return f"{words} in each node of trees of partial sums", (*real, "tree")
        case events.DiscreteGaussianDpEvent():
            noise = f"discrete Gaussian noise with sigma {at_least(node.sigma, 6)}"
            return f"{noise} for a contribution of {node.sensitivity}", whole
        case dpe.DiscreteLaplaceDpEvent():
            noise = f"discrete Laplace noise with parameter {at_most(node.noise_parameter, 6)}"
            return f"{noise} for a contribution of {node.sensitivity}", whole
        case dpe.RandomizedResponseDpEvent():
            share = at_least(node.noise_parameter, 6)
            words = f"randomised response over {node.num_buckets} values"
            return f"{words}, replaced at random with probability {share}", ("exact noise",)
        case events.PureDpEvent():
            return f"any mechanism that is {at_most(node.epsilon, 6)}-DP", proof
        case dpe.ZCDpEvent():
            extra = f" and xi {at_most(node.xi, 6)}" if node.xi else ""
            return f"any zCDP mechanism with rho {at_most(node.rho, 6)}{extra}", proof
        case dpe.NonPrivateDpEvent():
            return "no protection at all", ()
    return f"what {type(node).__name__} describes", proof


def _noise(kind: str, multiplier: Any) -> str:
    return f"{kind} of {at_least(multiplier, 6)} times the largest contribution"


_NEEDS = {
    "clip": "The contribution of one {unit} to every release is really bounded as stated, for "
    "example by clipping it on its own, before anything is added up.",
    "noise": "The noise of every release is fresh and from a secret source. In the proof it is a "
    "real number; what a floating-point sampler leaks by its rounding is not covered.",
    "exact noise": "The randomness of every release is fresh, from a secret source, and has "
    "exactly the stated law.",
    "poisson": "Each {unit} enters each sample by a secret coin of its own with the stated "
    "probability: batches of a shuffled data set or of fixed size are not Poisson samples. Neither "
    "the coins nor the sample sizes are released, and means are divided by a public number.",
    "fixed size": "Each batch is drawn afresh, uniformly and in secret, with exactly the stated "
    "size, from a data set whose size is public.",
    "allocation": "Each {unit} takes part in exactly the stated number of steps, drawn uniformly, "
    "on its own and in secret: neither Poisson sampling nor a shuffle into batches does that.",
    "batches": "Each {unit} is in exactly one batch of each epoch, and the batch sizes are public.",
    "shuffler": "The shuffler is trusted: the analyst sees the reports in random order and nothing "
    "else, and every user follows the protocol.",
    "label": "The label of a record alone decides in which part it is, and the labels are public.",
    "client": "No {unit} has data with more than one client.",
    "tree": "Each {unit} occurs at most once across all trees of one release.",
    "search": "The number of runs of the search is drawn at random as stated and kept secret, and "
    "only the best output is released.",
    "proof": "Each mechanism that is known by its guarantee alone really has it: that proof is not "
    "checked here.",
}
