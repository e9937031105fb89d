"""RMIA's scores of one target by rank, beside comparing each record with each of the population.

    python benchmarks/rmia.py

One thread, best of several, interleaved. The dense forms are those of public code: a table of
ratios and its mean over a threshold; the same without the division; and the latter in torch. The
ratios are lognormal, which is as hard for a search as those of overfitted networks.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time

import numpy as np
import torch

from privassay.attacks.membership.population import ranks

CHUNK = 2500  # records at a time where a dense table would not fit


def by_rank(x, z):
    return ranks(x, z) / len(z)


def by_search(x, z):
    return np.searchsorted(np.sort(z), x, side="right") / len(z)


def in_chunks(form):
    def work(x, z):
        return np.concatenate([form(x[i : i + CHUNK], z) for i in range(0, len(x), CHUNK)])

    return work


def table_of_ratios(x, z):
    return np.average(x[:, None] / z >= 1.0, axis=1)


def comparisons(x, z):
    return np.count_nonzero(x[:, None] >= z, axis=1) / len(z)


def comparisons_in_torch(x, z):
    return (torch.from_numpy(x)[:, None] >= torch.from_numpy(z)).double().mean(dim=1).numpy()


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    forms = {
        "rank": (by_rank, 50),
        "plain search": (by_search, 50),
        "dense, ratios": (table_of_ratios, 3),
        "dense, comparisons": (comparisons, 3),
        "dense, torch": (comparisons_in_torch, 3),
    }
    for records, population, chunked in ((10_000, 2_000, False), (50_000, 10_000, True)):
        x, z = np.exp(rng.normal(size=records)), np.exp(rng.normal(size=population))
        seconds = dict.fromkeys(forms, float("inf"))
        answers = {}
        for turn in range(3):
            for name, (form, times) in forms.items():
                work = in_chunks(form) if chunked and name.startswith("dense") else form
                for _ in range(times if turn or times > 3 else 1):
                    start = time.perf_counter()
                    answers[name] = work(x, z)
                    seconds[name] = min(seconds[name], time.perf_counter() - start)
        print(f"N = {records}, Z = {population}{', dense in chunks' if chunked else ''}")
        for name, took in seconds.items():
            gap = float(np.abs(answers[name] - answers["rank"]).max())
            ratio = took / seconds["rank"]
            print(f"  {name:20} {1e3 * took:10.3f} ms  x{ratio:<8.1f} largest difference {gap:g}")


if __name__ == "__main__":
    main()
