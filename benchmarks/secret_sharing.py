"""Sharing and opening a million field elements: n = 10, t = 4.

    python benchmarks/secret_sharing.py [--json] [--cuda]

Best of five, wall clock and processor seconds (on a busy machine only the latter compare). Targets:
share under 1 s, reconstruct under 0.2 s on two cores. If galois is installed, it is asked the same
over 2^31 - 1, after a warm-up that is not counted.
"""

import json
import sys
import time
from fractions import Fraction
from functools import partial

import torch

from privassay.mechanisms.exact_sampling import discrete_gaussian
from privassay.mechanisms.secret_sharing.field import M31, M61, PrimeField
from privassay.mechanisms.secret_sharing.lagrange import LagrangeCode, Shamir
from privassay.mechanisms.secret_sharing.masks import SystemSource, source_words, uniform

SIZE, CLIENTS, COLLUDERS = 1_000_000, 10, 4
SENDERS = [1, 3, 4, 7, 9]


def best(work, device, times=5):
    wall = cpu = float("inf")
    for _ in range(times):
        start, spent = time.perf_counter(), time.process_time()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        wall = min(wall, time.perf_counter() - start)
        cpu = min(cpu, time.process_time() - spent)
    return wall, cpu


def ours(modulus, device):
    """(name, work) pairs over one field, each checked once."""
    field, system = PrimeField(modulus), SystemSource()
    secret = uniform(system, field, SIZE).to(device)
    scheme = Shamir(clients=CLIENTS, colluders=COLLUDERS, within=field)
    shares = scheme.share(secret, system)
    some = shares[SENDERS]
    assert torch.equal(scheme.reconstruct(some, SENDERS), secret)
    code = LagrangeCode(clients=CLIENTS, slices=2, colluders=2, within=field)
    halves = secret.reshape(2, -1)
    coded = code.share(halves, uniform(system, field, 2, SIZE // 2))
    squares = field.mul(coded, coded)
    assert torch.equal(code.open(squares[:7], range(7), product=True), field.mul(halves, halves))
    return [
        ("Shamir share, masks from the system", lambda: scheme.share(secret, system)),
        ("Shamir reconstruct from 5", lambda: scheme.reconstruct(some, SENDERS)),
        (
            "Shamir reconstruct from 10, checked",
            lambda: scheme.reconstruct(shares, range(CLIENTS)),
        ),
        (
            "Lagrange K=2 t=2 share",
            lambda: code.share(halves, uniform(system, field, 2, SIZE // 2)),
        ),
        (
            "Lagrange K=2 t=2 open a product from 7",
            lambda: code.open(squares[:7], range(7), product=True),
        ),
        ("multiply elementwise", lambda: field.mul(secret, secret)),
        ("masks", lambda: uniform(system, field, SIZE)),
    ]


def galois_peer():
    """The same Shamir sharing by Horner's rule, without masks; None if it is not installed."""
    try:
        import galois
    except ImportError:
        print("galois is not installed (pip install galois)", file=sys.stderr)
        return None
    import numpy as np

    field = galois.GF(M31)
    values = field(np.random.default_rng(0).integers(0, M31, (5, SIZE)))
    points = [field(x) for x in range(1, CLIENTS + 1)]

    def share():
        rows = []
        for x in points:
            row = values[4]
            for k in (3, 2, 1, 0):
                row = row * x + values[k]
            rows.append(row)
        return rows

    share()  # compiles
    return share


def main(as_json, device):
    rows = []

    def row(name, work):
        wall, cpu = best(work, device)
        rows.append({"work": name, "wall_s": wall, "cpu_s": cpu})
        if not as_json:
            print(f"{name:48} {wall:8.4f} s wall {cpu:8.4f} s processor")

    for name, modulus in (("2^61-1", M61), ("2^31-1", M31)):
        for work, run in ours(modulus, device):
            row(f"{name} {work}", run)
    for sigma in (0.3, 1.0, 50.0, 2.0**18):
        variance, words = Fraction(sigma) ** 2, source_words(SystemSource())
        row(
            f"discrete Gaussian, sigma {sigma:g}, 1,000,000",
            partial(discrete_gaussian, (SIZE,), variance=variance, words=words),
        )
    peer = galois_peer()
    if peer is not None:
        row("2^31-1 galois, Shamir share without masks", peer)
    if as_json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main("--json" in sys.argv, "cuda" if "--cuda" in sys.argv else "cpu")
