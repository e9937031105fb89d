"""Exact Gaussian accounting beside the peers, in one run: epsilon, width, time, ratios.

    .venv/bin/python benchmarks/accounting.py

The truth is the closed form at 60 digits (mpmath). Times are the best of several calls, imports
not counted; a peer's time is one call, because it takes longer.
"""

import time

import dp_accounting.dp_event as dpe
import mpmath

from privassay.accountant.account import account
from privassay.accountant.peers import cross_check

WORKLOADS = {
    "sigma 4, 100 rounds": (4.0, 100, 1e-5),
    "sigma 50, 1,000 rounds": (50.0, 1000, 1e-6),
    "sigma 1, 1 round": (1.0, 1, 1e-5),
    "sigma 20, 5 rounds": (20.0, 5, 1e-12),
}


def truth(mu: mpmath.mpf, delta: mpmath.mpf) -> mpmath.mpf:
    def log_delta(epsilon: mpmath.mpf) -> mpmath.mpf:
        second = mpmath.exp(epsilon) * mpmath.ncdf(-mu / 2 - epsilon / mu)
        return mpmath.log(mpmath.ncdf(mu / 2 - epsilon / mu) - second)

    low, high = mpmath.mpf(0), mu**2 / 2 + 10 * mu
    for _ in range(150):  # delta falls in epsilon: plain bisection cannot go astray
        middle = (low + high) / 2
        low, high = (middle, high) if log_delta(middle) > mpmath.log(delta) else (low, middle)
    return low


def best_of(call, repeats=20):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    mpmath.mp.dps = 60
    for name, (sigma, rounds, delta) in WORKLOADS.items():
        event = dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(sigma), rounds)
        bound = account(event, adjacency="add-remove")
        exact = truth(mpmath.sqrt(rounds) / mpmath.mpf(sigma), mpmath.mpf(delta))
        found = bound.epsilon(delta)
        ours = best_of(lambda e=event, d=delta: account(e, adjacency="add-remove").epsilon(d))
        inside = found.lower <= exact <= found.upper
        print(f"{name}, delta {delta:g}: exact epsilon {mpmath.nstr(exact, 12)}")
        print(
            f"  {'privassay':<20} width {found.width:9.1e}  {ours * 1e3:9.3f} ms"
            f"  {'encloses the truth' if inside else 'MISSES THE TRUTH'}"
        )
        for peer in cross_check(bound, delta):
            excess = float(peer.epsilon_upper / exact - 1)
            print(
                f"  {peer.peer:<20} excess {excess:+9.1e}  {peer.seconds * 1e3:9.3f} ms"
                f"  {peer.seconds / ours:8.0f} times our time; {peer.note}"
            )


if __name__ == "__main__":
    main()
