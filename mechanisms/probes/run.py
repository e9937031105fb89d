"""All probes that fit one program, described by a few plain callables."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..base import Key, SeededKey, SystemKey
from . import noise
from .contamination import contamination
from .finding import Finding
from .outbox import unnoised
from .sensitivity import Pair, sensitivity


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A user's program.

    Attributes:
        step: (data, key) -> {name: tensor}: everything that leaves.
        data: a data set; neighbour: another, that moves every statistic.
        clean: data -> {name: tensor}: the same before noise; None if it cannot be called.
        stddevs: {name: declared noise}, a number or a tensor that broadcasts; 0 for public values.
        mu: declared for one call; None to leave the sensitivity out.
        pairs: neighbouring data sets for the sensitivity; (data, neighbour) alone if empty.
        clients: whether the first axis of the data, and of what leaves, are clients.
        draws: calls whose noise is examined.
        system: whether `step` takes keys of the operating system, so that freshness can be seen.
    """

    step: Callable[[Any, Key], Mapping[str, Tensor]]
    data: Any
    neighbour: Any
    clean: Callable[[Any], Mapping[str, Tensor]] | None = None
    stddevs: Mapping[str, Any] = field(default_factory=dict)
    mu: float | None = None
    pairs: Iterable[Pair] = ()
    clients: bool = False
    draws: int = 400
    system: bool = True


def probe(hook: Hook) -> tuple[Finding, ...]:
    """Every probe that the hook allows; those that fired say what is wrong.

    >>> from privassay.mechanisms.laplace import LaplaceSum
    >>> sum_ = LaplaceSum(l1_norm=1.0, noise_multiplier=2.0)
    >>> rows = SeededKey(0).normal(5, 3)
    >>> hook = Hook(step=lambda x, key: {"sum": sum_.release(x, key)}, data=rows, neighbour=-rows)
    >>> [found.fired for found in probe(hook)]
    [False, False]
    """
    found = [unnoised(hook.step, hook.data, hook.neighbour)]
    if hook.system:
        found.append(noise.fresh(lambda: _joined(hook.step(hook.data, SystemKey()), hook)))
    if hook.mu is not None and hook.clean is not None:
        pairs = list(hook.pairs) or [Pair("the neighbour", hook.data, hook.neighbour)]
        found.append(
            sensitivity(hook.clean, pairs, declared=hook.mu, stddevs=hook.stddevs, what="mu")
        )
    if hook.clients:
        found.append(contamination(hook.step, hook.data))
    if hook.clean is not None and any(_noised(s) for s in hook.stddevs.values()):
        found += _noise(hook, hook.clean(hook.data))
    return tuple(found)


def _noise(hook: Hook, clean: Mapping[str, Tensor]) -> list[Finding]:
    """Variance per coordinate, law, and independence of tensors and calls."""
    runs = [hook.step(hook.data, SeededKey(i).child("forensics")) for i in range(hook.draws)]
    found, scaled = [], {}
    for name, stddev in hook.stddevs.items():
        if not _noised(stddev):
            continue
        scale = torch.as_tensor(stddev, dtype=torch.float64).expand(clean[name].shape)
        residual = torch.stack([(run[name] - clean[name]).double() / scale for run in runs])
        flat = residual.flatten(1)
        found.append(_named(name, noise.each_variance(flat, stddev=1.0)))
        found.append(_named(name, noise.normality(flat, stddev=1.0)))
        scaled[name] = flat
    series = {f"{name}, entry {i}": flat[:, i] for name, flat in scaled.items()
              for i in range(min(flat.shape[1], 8))}  # fmt: skip
    if len(series) > 1:
        found.append(noise.independence(series))
    later = {f"{name}, call {i}": flat[i :: 2].flatten() for name, flat in scaled.items()
             for i in range(2)}  # fmt: skip
    if all(value.numel() >= 20 for value in later.values()):
        found.append(noise.independence(later))
    return found


def _noised(stddev: Any) -> bool:
    return bool((torch.as_tensor(stddev) > 0).all())


def _joined(sent: Mapping[str, Tensor], hook: Hook) -> Tensor:
    names = [name for name in sent if name not in hook.stddevs or _noised(hook.stddevs[name])]
    return torch.cat([sent[name].double().flatten() for name in names])


def _named(name: str, finding: Finding) -> Finding:
    text = f"{name}: {finding.text}"
    return Finding(probe=finding.probe, fired=finding.fired, text=text,
                   measured=finding.measured, declared=finding.declared)  # fmt: skip
