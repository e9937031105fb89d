"""Everything about the noise of a hooked program: fresh, of the declared law, and large enough."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from ..base import Key, SeededKey, SystemKey
from . import freshness, noise
from .finding import Finding
from .hook import Hook, Skipped
from .inputs import fitting, named_tensors
from .sensitivity import Pair, distance, sensitivity

SHOWN = 8  # entries or clients of a tensor that are compared with each other
NEEDS_STDDEVS = "needs stddevs={name: standard deviation of the noise}"


def forensics(hook: Hook) -> Iterator[Finding | Skipped]:
    """Freshness, sensitivity, variance, law, independence, reproducibility, last bits."""
    if hook.clean is not None:
        named_tensors(hook.clean(hook.data), "clean")
    yield from _fresh(hook)
    yield from _moves(hook)
    names = [name for name, stddev in hook.stddevs.items() if bool(_tensor(stddev).any())]
    if not names:
        for probe in (noise.PROBE, "reproducibility", "last bits"):
            yield Skipped(probe, NEEDS_STDDEVS)
        return
    if hook.clean is None and hook.law != "gaussian":
        yield Skipped(noise.PROBE, "needs clean: only Gaussian noise keeps its law in differences")
    else:
        yield from _law(hook, names)
    yield from _regenerated(hook, names)
    outputs = [hook.step(hook.data, SeededKey(i).child("last bits")) for i in range(10)]
    for name in names:
        stddev = _tensor(hook.stddevs[name])
        values = torch.stack([out[name].double().flatten() for out in outputs])
        values = values[:, _noised(hook, name, outputs[0][name])]
        if bool(torch.isfinite(values).all()):
            found = noise.last_bits(values, stddev=float(stddev[stddev > 0].min()))
            yield _named(name, found)
        else:
            yield Skipped("last bits", f"{name} holds NaN or infinity")


def _fresh(hook: Hook) -> Iterator[Finding | Skipped]:
    """Whether releases repeat: by the key, and by the seeds of the global generators."""
    numbers = iter(range(10**6))

    def other() -> Tensor:
        return _joined(hook, hook.step(hook.data, SeededKey(next(numbers)).child("freshness")))

    def own() -> Tensor:
        return _joined(hook, hook.step(hook.data, SystemKey()))

    sizes = {other().numel() for _ in range(4)}
    if len(sizes) > 1:
        reason = f"the size of what leaves changes from call to call: {sorted(sizes)} entries"
        yield Skipped("freshness", reason)
        yield Skipped("global generator", reason)
        return
    if hook.system:
        yield freshness.fresh(own, other)
    else:
        yield Skipped("freshness", "needs system=True: a step that takes keys of the system")
    yield freshness.global_generator(other)


def _moves(hook: Hook) -> Iterator[Finding | Skipped]:
    """Sensitivity in units of the noise, from `clean`, or from two releases with one key."""
    name = "sensitivity"
    if not hook.stddevs:
        yield Skipped(name, NEEDS_STDDEVS)
        return
    if hook.mu is not None:
        order, declared, what = 2, hook.mu, "mu"
        scales = {n: _tensor(s) for n, s in hook.stddevs.items()}
    elif hook.epsilon is not None:  # noise of std s has scale s / sqrt(2), and L1 counts
        order, declared, what = 1, hook.epsilon, "epsilon"
        scales = {n: _tensor(s) / 2.0**0.5 for n, s in hook.stddevs.items()}
    else:
        yield Skipped(name, "needs mu (Gaussian) or epsilon (Laplace) of one call")
        return
    pairs = list(hook.pairs) or [Pair("the neighbour", hook.data, hook.neighbour)]
    f = hook.clean
    unknown = [] if f is None else sorted(f(hook.data).keys() - scales.keys())
    if unknown:
        yield Skipped(name, f"needs stddevs of {', '.join(unknown)}, 0 for public values")
        return
    if f is None:
        coupled = [_with_key(hook, SeededKey(i).child("coupled")) for i in range(2)]
        sent = coupled[0](hook.data)
        if any(value.dtype != torch.float64 for value in sent.values()):
            yield Skipped(name, "needs clean, or releases in float64")
            return
        for pair in pairs:
            one, two = (distance(g, pair, stddevs=scales, order=order) for g in coupled)
            if not (one == two or abs(one - two) <= 1e-7 * max(1.0, one)):
                yield Skipped(
                    name, f"needs clean: with one key, noise or choices differ for {pair.name}"
                )
                return
        f = coupled[0]
    yield sensitivity(f, pairs, declared=declared, stddevs=scales, order=order, what=what)


def _with_key(hook: Hook, key: Key) -> Callable[[Any], Mapping[str, Tensor]]:
    return lambda data: {name: hook.step(data, key)[name] for name in hook.stddevs}


def _law(hook: Hook, names: list[str]) -> Iterator[Finding | Skipped]:
    """Variance of each entry, law, and independence of entries, clients, tensors and calls."""
    runs = [hook.step(hook.data, SeededKey(i).child("forensics")) for i in range(hook.draws)]
    clean = None if hook.clean is None else hook.clean(hook.data)
    series: dict[str, Tensor] = {}
    calls: dict[str, Tensor] = {}
    for name in names:
        values = torch.stack([run[name].double() for run in runs])
        if clean is None:  # the data cancel, and Gaussian noise keeps its law
            residual = (values[0::2] - values[1::2]) / 2.0**0.5
        else:
            residual = values - _like(name, clean, values[0])
        keep = _noised(hook, name, runs[0][name])
        scale = _tensor(hook.stddevs[name]).expand(runs[0][name].shape).flatten()
        flat = residual.flatten(1)[:, keep] / scale[keep]
        whole = noise.finite(flat)
        if whole.fired:
            yield _named(name, whole)
            continue
        if hook.law is None:
            yield Skipped(f"law of {name}", 'needs law="gaussian" or "laplace"')
        else:
            of = f"{name}, in units of its declared noise"
            yield _named(of, noise.variance(flat, stddev=1.0, law=hook.law))
            yield _named(of, noise.each_variance(flat, stddev=1.0, law=hook.law))
            yield _named(of, noise.normality(flat, stddev=1.0, law=hook.law))
        shown = np.unique(np.linspace(0, flat.shape[1] - 1, min(SHOWN, flat.shape[1])).astype(int))
        series |= {f"{name}, entry {i}": flat[:, i] for i in shown}
        if hook.clients and bool(keep.all()):
            each = flat.unflatten(1, (len(runs[0][name]), -1))
            calls |= {f"{name}, client {i}": each[:, i].flatten()
                      for i in range(min(SHOWN, each.shape[1]))}  # fmt: skip
        calls |= {f"{name}, call {i}": flat[i::2].flatten() for i in range(2)}
    for parts in (series, calls):
        if len(parts) > 1:
            yield noise.independence(parts, law=hook.law)


def _regenerated(hook: Hook, names: list[str]) -> Iterator[Finding | Skipped]:
    """Whether common generators with common seeds give the noise again."""
    if hook.clean is None:
        yield Skipped("reproducibility", "needs clean, to see the noise alone")
        return
    clean, key = hook.clean(hook.data), SystemKey() if hook.system else SeededKey(0)
    first = hook.step(hook.data, key)
    shapes = [tuple(first[name].shape) for name in names]
    size = sum(first[name].numel() for name in names)
    calls = -(-512 // size)
    runs = [first, *(hook.step(hook.data, key) for _ in range(calls - 1))]
    drawn = torch.cat([
        (run[name].double() - _like(name, clean, run[name])).flatten()
        for run in runs for name in names
    ])  # fmt: skip
    if not bool(torch.isfinite(drawn).all()):
        yield Skipped("reproducibility", "the noise holds NaN or infinity")
        return
    attacks = {
        f"{seed} of {kind}" + (", set again at every call" if again else ""): (kind, seed, again)
        for kind in _GENERATORS for seed in hook.seeds for again in (False, True)
    }  # fmt: skip

    def regenerate(attack: str) -> Tensor:
        kind, seed, again = attacks[attack]
        draw = _GENERATORS[kind](seed)
        repeated, fresh = (calls, 1) if again else (1, calls)
        parts = [draw(shape).double().flatten() for _ in range(fresh) for shape in shapes]
        return torch.cat(parts * repeated)

    yield noise.reproducible(drawn, regenerate, attacks, law=hook.law)


Draw = Callable[[tuple[int, ...]], Tensor]


def _torch(dtype: torch.dtype) -> Callable[[int], Draw]:
    def start(seed: int) -> Draw:
        generator = torch.Generator().manual_seed(seed)
        return lambda shape: torch.randn(shape, generator=generator, dtype=dtype)

    return start


def _numpy_legacy(seed: int) -> Draw:
    state = np.random.RandomState(seed)
    return lambda shape: torch.from_numpy(np.asarray(state.standard_normal(shape)))


def _numpy(seed: int) -> Draw:
    generator = np.random.default_rng(seed)
    return lambda shape: torch.from_numpy(np.asarray(generator.standard_normal(shape)))


_GENERATORS: dict[str, Callable[[int], Draw]] = {
    "torch float32": _torch(torch.float32),
    "torch float64": _torch(torch.float64),
    "numpy RandomState": _numpy_legacy,
    "numpy default_rng": _numpy,
}


def _tensor(stddev: Any) -> Tensor:
    return torch.as_tensor(stddev, dtype=torch.float64)


def _noised(hook: Hook, name: str, value: Tensor) -> Tensor:
    """bool[entries] of what is declared to have noise."""
    return (_tensor(hook.stddevs[name]).expand(value.shape) > 0).flatten()


def _like(name: str, clean: Mapping[str, Tensor], sent: Tensor) -> Tensor:
    if name not in clean or clean[name].shape != sent.shape:
        shown = list(clean[name].shape) if name in clean else "nothing"
        raise ParameterError(
            f"clean must give {name} as {list(sent.shape)}, as step does, but gives {shown}"
        )
    return clean[name].double()


def _joined(hook: Hook, sent: Mapping[str, Tensor]) -> Tensor:
    """All that leaves, but for what is declared to be public; refuses what does not fit."""
    fitting(hook.stddevs, named_tensors(sent, "step"))
    names = [n for n in sent if n not in hook.stddevs or bool(_tensor(hook.stddevs[n]).any())]
    if not names:
        raise ParameterError("everything that leaves is declared public; there is no noise to see")
    return torch.cat([sent[name].double().flatten() for name in names])


def _named(name: str, finding: Finding) -> Finding:
    return replace(finding, text=f"{name}: {finding.text}")
