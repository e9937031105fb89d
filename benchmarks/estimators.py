"""Lower bounds beside the common practice: false claims, power, speed.

    python benchmarks/estimators.py [--repeats 2000] [--only claims,power,speed] [--json]

(a) How often a bound is above the truth at nominal 5 %, with its Clopper-Pearson interval, for
every estimator and for procedures that are common and choose on the tested scores. A fifth of the
repeats at n = 5000. Truths: pure noise, Laplace noise of epsilon 1, Gaussian noise of mu 1, and 10
sampled Gaussian steps (rate .1, noise 1) with scores drawn from their dominating pair, against the
curve of the accountant.
(b) What is found when there is something to find.
(c) Seconds beside the loops as they are published.
"""

import argparse
import json
import math
import sys
import time
from collections import defaultdict

import dp_accounting.dp_event as dpe
import numpy as np
from scipy.special import betaincinv, ndtr, ndtri
from scipy.stats import beta, binom, norm

from privassay.accountant import gaussian
from privassay.accountant.account import account
from privassay.attacks.scores import Scores
from privassay.audit_reports.estimators.band import band_bound, band_level
from privassay.audit_reports.estimators.clopper_pearson import (
    distinct_counts,
    epsilon_from_limits,
    fixed_threshold,
    limit_table,
    lower_limit,
    mu_from_limits,
    upper_limit,
)
from privassay.audit_reports.estimators.dkw import dkw_bound
from privassay.audit_reports.estimators.e_process import e_process_bound
from privassay.audit_reports.estimators.guess_count import guess_count_bound, one_run_epsilon
from privassay.audit_reports.estimators.multi_split import multi_split_bound
from privassay.audit_reports.estimators.one_run_fdp import (
    one_run_fdp_bound,
    one_run_mu,
    one_run_refutes,
)
from privassay.audit_reports.estimators.refute import refutes
from privassay.audit_reports.estimators.split import split_bound
from privassay.audit_reports.estimators.tradeoff import TradeOff

ALPHA, DELTA = 0.05, 1e-5
OPTIONS = {"confidence": 1.0 - ALPHA, "delta": DELTA}
RATE, NOISE, STEPS = 0.1, 1.0, 10

BOUNDS = {
    "band": (band_bound, "many_runs"),
    "split": (split_bound, "many_runs"),
    "multi-split": (multi_split_bound, "many_runs"),
    "DKW": (dkw_bound, "many_runs"),
    "e-process": (e_process_bound, "many_runs"),
    "guess count, split k": (guess_count_bound, "one_run"),
    "f-DP one-run, split k": (one_run_fdp_bound, "one_run"),
}
CURVES = ("band", "split")


def note(text):
    print(text, file=sys.stderr, flush=True)


def scores(inside, outside, design):
    return Scores(
        values_in=inside,
        values_out=outside,
        design=design,
        adversary="server",
        attack="benchmark",
        adjacency="add-remove",
    )


# The truths: (draw n scores of each world, epsilon at DELTA, mu or None).


def noise(rng, n_in, n_out):
    return rng.normal(size=n_in), rng.normal(size=n_out)


def laplace(rng, n_in, n_out):
    return rng.laplace(1.0, 1.0, n_in), rng.laplace(0.0, 1.0, n_out)


def normal(rng, n_in, n_out):
    return rng.normal(1.0, 1.0, n_in), rng.normal(size=n_out)


def sgd(rng, n_in, n_out):
    """Log likelihood ratios of the dominating pair, by simulation."""

    def loss(n, included):
        x = rng.normal(0.0, NOISE, (n, STEPS))
        if included:
            x += rng.random((n, STEPS)) < RATE
        ratio = np.exp((x - 0.5) / NOISE**2)
        return np.log1p(RATE * (ratio - 1.0)).sum(axis=1)

    return loss(n_in, True), loss(n_out, False)


def truths():
    event = dpe.SelfComposedDpEvent(
        dpe.PoissonSampledDpEvent(RATE, dpe.GaussianDpEvent(NOISE)), STEPS
    )
    bound = account(event, adjacency="add-remove")
    return {
        "eps 0": (noise, 0.0, 0.0, None),
        # delta(eps) = 1 - e^((eps - 1)/2)
        "Laplace 1": (laplace, 1.0 + 2.0 * math.log1p(-DELTA), None, None),
        "mu 1": (normal, gaussian.epsilon(DELTA, mu=1.0), 1.0, None),
        "DP-SGD": (sgd, bound.epsilon(DELTA).upper, None, TradeOff.of(bound)),
    }


# Common practice, on the tested scores themselves.


def best_of_grid(inside, outside):
    """One run, delta = 0, the best of a grid of (k_in, k_out) with step sqrt(m)."""
    order = np.argsort(np.concatenate((inside, outside)), kind="stable")
    labels = order < inside.size
    m = labels.size
    hits = np.concatenate(([0], np.cumsum(labels[::-1])))
    misses = np.concatenate(([0], np.cumsum(~labels)))
    steps = np.arange(0, m // 2 + 1, round(math.sqrt(m)))
    k_in, k_out = (grid.ravel()[1:] for grid in np.meshgrid(steps, steps))
    r, v = k_in + k_out, hits[k_in] + misses[k_out]
    low = float(np.where(v > 0, betaincinv(np.maximum(v, 1), r - v + 1.0, ALPHA), 0.0).max())
    return max(0.0, math.log(low / (1.0 - low))) if low > 0.0 else 0.0


def best_threshold(inside, outside, level):
    """Clopper-Pearson at the best of all thresholds: (epsilon, mu)."""
    _, tp, fp = distinct_counts(inside, outside)
    fpr = limit_table(outside.size, level)[fp]
    fnr = limit_table(inside.size, level)[inside.size - tp]
    return (
        float(epsilon_from_limits(fpr, fnr, DELTA).max()),
        float(mu_from_limits(fpr, fnr).max()),
    )


def accused(name, bound, epsilon, mu, curve, data):
    """Whether a bound is above the truth, in the strongest way the method can say it."""
    if curve is not None:
        if name in CURVES:
            return refutes(curve, data, method=name, confidence=1.0 - ALPHA).refuted
        if name == "f-DP one-run, split k" and bound.guesses:
            counts = {k: getattr(bound, k) for k in ("canaries", "guesses", "correct")}
            return one_run_refutes(curve, confidence=1.0 - ALPHA, **counts)
    above = bound.epsilon_lower > epsilon
    if mu is not None and bound.mu_lower is not None:
        above |= bound.mu_lower > mu
    return above


def claims(repeats):
    rows = []
    for n, times in ((500, repeats), (5000, max(20, repeats // 5))):
        for truth, (draw, epsilon, mu, curve) in truths().items():
            rng = np.random.default_rng([n, len(truth)])
            found = defaultdict(int)
            start = time.perf_counter()
            for turn in range(times):
                inside, outside = draw(rng, n, n)
                coin = int(rng.binomial(2 * n, 0.5))
                drawn = draw(rng, coin, 2 * n - coin) if coin != n else (inside, outside)
                for name, (bound, design) in BOUNDS.items():
                    data = scores(*(drawn if design == "one_run" else (inside, outside)), design)
                    found[name] += accused(name, bound(data, **OPTIONS), epsilon, mu, curve, data)
                cut = 0.5 if draw is not sgd else 0.0
                data = scores(inside, outside, "many_runs")
                fixed = fixed_threshold(data, threshold=cut, **OPTIONS)
                found["Clopper-Pearson, fixed threshold"] += accused(
                    "", fixed, epsilon, mu, None, data
                )
                found["(*) one-run, best of the grid"] += best_of_grid(*drawn) > epsilon
                for level, how in ((ALPHA / 2.0, "alpha/2"), (ALPHA, "alpha")):
                    best = best_threshold(inside, outside, level)
                    found[f"(*) best threshold, {how} per rate"] += best[0] > epsilon
                    if mu is not None:
                        found[f"(*) best threshold, mu, {how} per rate"] += best[1] > mu
                if turn % 200 == 199:
                    note(f"n={n} {truth}: {turn + 1}/{times}, {time.perf_counter() - start:.0f} s")
            for name, count in found.items():
                rows.append(
                    {
                        "procedure": name,
                        "truth": truth,
                        "n": n,
                        "repeats": times,
                        "false_claims": count,
                        "rate": count / times,
                        "low": float(lower_limit(count, times, 0.025)),
                        "high": float(upper_limit(count, times, 0.025)),
                    }
                )
    return rows


def power(draws=40):
    rows = []
    for mu in (1.0, 2.0, 4.0):
        rng = np.random.default_rng(int(mu))
        found = defaultdict(list)
        for _ in range(draws):
            coin = int(rng.binomial(2000, 0.5))
            inside, outside = rng.normal(mu, 1.0, coin), rng.normal(size=2000 - coin)
            found["(*) one-run, best of the grid"].append((best_of_grid(inside, outside), None))
            for name, (bound, design) in BOUNDS.items():
                got = bound(scores(inside, outside, design), **OPTIONS)
                found[name].append((got.epsilon_lower, got.mu_lower))
        truth = gaussian.epsilon(DELTA, mu=mu)
        note(f"power, mu {mu:g}")
        for name, values in found.items():
            mus = [m for _, m in values if m is not None]
            middle = float(np.median(mus)) if mus else None
            rows.append(
                {
                    "mu": mu,
                    "epsilon": truth,
                    "procedure": name,
                    "epsilon_lower": float(np.median([e for e, _ in values])),
                    "mu_lower": middle,
                    "epsilon_by_mu": gaussian.epsilon(DELTA, mu=middle) if middle else None,
                }
            )
    return rows


# The loops as published, a part of them timed and extrapolated.


def seconds(work, times=5):
    best = math.inf
    for _ in range(times):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def speed():
    rows = []

    def row(what, ours, theirs, note_):
        rows.append(
            {"what": what, "ours_ms": 1e3 * ours, "loop_ms": 1e3 * theirs,
             "ratio": theirs / ours, "note": note_}
        )  # fmt: skip

    for m in (10**4, 10**6):
        r = m // 10
        v, delta = 9 * r // 10, 1e-3 / m
        ours = seconds(
            lambda: one_run_epsilon(delta=delta, canaries=m, guesses=r, correct=v, alpha=ALPHA)  # noqa: B023
        )

        def part_of_the_sum(steps, r=r, v=v):
            total = best = 0.0
            for i in range(1, steps + 1):
                total += binom.pmf(v - i, r, 0.89)
                best = max(best, total / i)

        steps, evaluations = 1000, 22
        once = seconds(lambda: part_of_the_sum(steps), 2)  # noqa: B023
        loop = once * v / steps * evaluations
        row(f"one-run epsilon, m = {m:.0e}", ours, loop, "loop extrapolated from 1000 terms")

        ours = seconds(lambda: one_run_mu(canaries=m, guesses=r, correct=v, alpha=ALPHA))  # noqa: B023

        def part_of_the_recursion(steps, m=m, r=r, v=v):
            h, x = ALPHA * (r - v) / m, ALPHA * v / m
            for i in range(v - 1, v - 1 - steps, -1):
                new = max(h, norm.cdf(norm.ppf(x) - 0.6))
                x += i / (r - i) * (new - h)
                h = new

        steps = min(v, 500)
        once = seconds(lambda: part_of_the_recursion(steps), 2)  # noqa: B023
        loop = once * v / steps * evaluations
        row(f"f-DP one-run mu, m = {m:.0e}", ours, loop, "loop extrapolated from 500 steps")
        note(f"speed, m = {m:.0e}")

    n = 10**4
    rng = np.random.default_rng(0)
    data = scores(rng.normal(1, 1, n), rng.normal(size=n), "many_runs")
    level = band_level(n, ALPHA / 2.0)
    ours = seconds(lambda: band_bound(data, **OPTIONS))

    def part_of_the_thresholds(steps):
        for cut in data.values_in[:steps]:
            fp, fn = int((data.values_out >= cut).sum()), int((data.values_in < cut).sum())
            fpr, fnr = (beta.ppf(1.0 - level, k + 1, n - k) for k in (fp, fn))
            max(ndtri(1.0 - fpr) - ndtri(fnr), math.log((1.0 - fnr) / fpr), ndtr(0.0))

    loop = seconds(lambda: part_of_the_thresholds(200), 2) * 2 * n / 200
    row("band, 1e4 + 1e4, level known", ours, loop, "loop extrapolated from 200 thresholds")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--only", default="claims,power,speed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = options.only.split(",")
    found = {}
    if "claims" in parts:
        found["claims"] = claims(options.repeats)
    if "power" in parts:
        found["power"] = power()
    if "speed" in parts:
        found["speed"] = speed()
    if options.json:
        print(json.dumps(found, indent=2))
        return
    if "claims" in found:
        print("False claims at nominal 5 %  (*) common practice, chooses on the tested scores")
        for n in (500, 5000):
            table = [row for row in found["claims"] if row["n"] == n]
            print(f"\nn = {n} + {n}, {table[0]['repeats']} repeats")
            print(f"{'':42}" + "".join(f"{name:>22}" for name in truths()))
            for name in dict.fromkeys(row["procedure"] for row in table):
                cells = {row["truth"]: row for row in table if row["procedure"] == name}
                print(
                    f"{name:42}"
                    + "".join(
                        f"{100 * c['rate']:8.1f} % [{100 * c['low']:4.1f}, {100 * c['high']:4.1f}]"
                        if (c := cells.get(truth))
                        else f"{'-':>22}"
                        for truth in truths()
                    )
                )
    if "power" in found:
        print("\nFound, medians of 40 draws, 2000 canaries, confidence .95, delta 1e-5")
        print(f"{'':32}{'true mu (eps)':>16}{'epsilon':>10}{'mu':>8}{'eps by mu':>11}")
        for row in found["power"]:
            mu = [row[key] for key in ("mu_lower", "epsilon_by_mu")]
            print(
                f"{row['procedure']:32}{row['mu']:7g} ({row['epsilon']:.3f})"
                f"{row['epsilon_lower']:10.3f}"
                + "".join(f"{x:10.3f}" if x is not None else f"{'-':>10}" for x in mu)
            )
    if "speed" in found:
        print("\nSpeed")
        for row in found["speed"]:
            print(
                f"{row['what']:36}{row['ours_ms']:10.3f} ms{row['loop_ms']:14.1f} ms"
                f"{row['ratio']:12.0f} times   {row['note']}"
            )


if __name__ == "__main__":
    main()
