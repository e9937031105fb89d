"""The accountant beside its peers, in one process: value, gap, seconds, ratio.

    python benchmarks/accountant.py [--json] [--slow]

`--slow` also asks prv-accountant at 0.01 (minutes). Times are the best of three, imports excluded;
of the peers, one run. Every method runs in a forked process of its own, so that its peak memory,
above what was there before, is its own.
"""

import json
import multiprocessing
import resource
import sys
import time
import warnings

import dp_accounting.dp_event as dpe
import numpy as np

import privassay as pa
from privassay.accountant import events


def steps(rate, noise, count):
    return dpe.SelfComposedDpEvent(
        dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(noise)), count
    )


def w5():
    draw = np.random.default_rng(0)
    parts = []
    for _ in range(50):
        rate = round(10 ** draw.uniform(-3, -1.7), 6)
        parts.append((rate, round(draw.uniform(0.8, 2), 4), 200))
    return parts


WORK = {
    "W1": ([(0.01, 0.8, 1000)], 1e-5, 3.141014139455),
    "W2": ([(256 / 60000, 1.1, 14063)], 1e-5, 2.381689726142),
    "W3": ([(1.0, 4.0, 100)], 1e-5, 13.206712240452),
    "W4": ([(1e-3, 0.6, 100000)], 1e-5, 6.112825183612),
    "W5": (w5(), 1e-5, 3.835086851800),
    "W7": ([(1e-4, 2.0, 1000000)], 1e-9, 0.278468917496),
}


def best(ask, times=3):
    """What `ask` returns, its seconds and its peak memory in MB, measured in a forked process."""
    here, there = multiprocessing.Pipe(duplex=False)

    def work():
        found, shortest = None, float("inf")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(times):
            start = time.perf_counter()
            found = ask()
            shortest = min(shortest, time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        there.send((found, shortest, peak // (1024 if sys.platform == "linux" else 1024**2)))

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError:  # the peer raised; its traceback is on stderr
        answer = ((float("nan"), float("nan")), float("nan"), 0)
    child.join()
    return answer


def ours(event, delta, adjacency="add-remove"):
    found = pa.account(event, adjacency=adjacency).epsilon(delta)
    return found.lower, found.upper


def pld(parts, delta):
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant

    accountant = PLDAccountant()
    for part in parts:
        accountant.compose(steps(*part))
    return 0.0, accountant.get_epsilon(delta)


def rdp(parts, delta):
    from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant

    accountant = RdpAccountant()
    for part in parts:
        accountant.compose(steps(*part))
    return 0.0, accountant.get_epsilon(delta)


def prv(parts, delta, error):
    from prv_accountant import PRVAccountant
    from prv_accountant.privacy_random_variables import (
        GaussianMechanism,
        PoissonSubsampledGaussianMechanism,
    )

    made = [
        PoissonSubsampledGaussianMechanism(q, s) if q < 1 else GaussianMechanism(s)
        for q, s, _ in parts
    ]
    counts = [t for _, _, t in parts]
    accountant = PRVAccountant(
        prvs=made, max_self_compositions=counts, eps_error=error, delta_error=delta / 1000
    )
    low, _, high = accountant.compute_epsilon(delta, counts)
    return low, high


def widest(ends):
    return 0.0, float(np.max(ends[1] - ends[0]))


def main(slow, as_json):
    warnings.simplefilter("ignore")  # the peers' own
    rows = []

    def row(work, name, ends, seconds, peak, base=None):
        rows.append(
            {
                "work": work,
                "method": name,
                "lower": ends[0],
                "upper": ends[1],
                "gap": ends[1] - ends[0],
                "seconds": seconds,
                "times_ours": seconds / base if base else 1.0,
                "peak_mb": peak,
            }
        )
        if not as_json:
            last = rows[-1]
            print(
                f"{work:4} {name:22} [{ends[0]:.9g}, {ends[1]:.9g}] gap {last['gap']:.1e} "
                f"{1e3 * seconds:10.2f} ms  x{last['times_ours']:.1f}  {last['peak_mb']} MB"
            )

    ours(steps(0.02, 1.0, 10), 1e-5)  # warm
    for work, (parts, delta, exact) in WORK.items():
        event = dpe.ComposedDpEvent([steps(*part) for part in parts])
        ends, base, peak = best(lambda: ours(event, delta))  # noqa: B023
        assert ends[0] <= exact + 1e-12 and ends[1] >= exact - 1e-12
        row(work, "privassay", ends, base, peak)
        for name, ask in (
            ("dp-accounting RDP", lambda: rdp(parts, delta)),  # noqa: B023
            ("dp-accounting PLD 1e-4", lambda: pld(parts, delta)),  # noqa: B023
            ("prv-accountant .1", lambda: prv(parts, delta, 0.1)),  # noqa: B023
        ):
            row(work, name, *best(ask, 1), base)
        if slow and work != "W5":
            row(work, "prv-accountant .01", *best(lambda: prv(parts, delta, 0.01), 1), base)  # noqa: B023

    def find():
        return pa.calibrate(
            lambda s: steps(0.02, s, 5000), epsilon=2.0, delta=1e-6, adjacency="add-remove"
        )

    noise, base, peak = best(find)
    row("W6", "privassay (noise)", (noise, noise), base, peak)
    try:
        from riskcal.accountants.ctd import CTDAccountant
        from riskcal.calibration.blackbox import find_noise_multiplier_for_epsilon_delta as peer
    except ImportError:
        print("W6: riskcal is not installed (pip install riskcal)", file=sys.stderr)
    else:
        args = dict(sample_rate=0.02, num_steps=5000, epsilon=2.0, delta=1e-6)
        found, seconds, peak = best(lambda: peer(CTDAccountant, **args), 1)
        row("W6", "riskcal (noise)", (found, found), seconds, peak, base)
    others = {
        "W8 Laplace": (dpe.SelfComposedDpEvent(dpe.LaplaceDpEvent(1.0), 64), "add-remove"),
        "W8 RR": (dpe.SelfComposedDpEvent(events.PureDpEvent(1.0), 64), "replace-one"),
        "W10": (steps(0.01, 0.8, 1000), "replace-one"),
    }
    for work, (event, adjacency) in others.items():
        row(work, "privassay", *best(lambda: ours(event, 1e-5, adjacency)))  # noqa: B023
    bound = pa.account(steps(0.01, 0.8, 1000), adjacency="add-remove")
    grid = np.linspace(0, 6, 200)
    _, first, peak = best(lambda: bound.profile(grid), 1)
    row("W9", "privassay, first", widest(bound.profile(grid)), first, peak)
    _, again, peak = best(lambda: bound.profile(grid))
    row("W9", "privassay, warm", widest(bound.profile(grid)), again, peak)
    if as_json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main("--slow" in sys.argv, "--json" in sys.argv)
