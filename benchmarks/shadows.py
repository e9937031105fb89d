"""Shadow models: all at once against one after another, and the reference tables.

    python benchmarks/shadows.py [--json]            speed
    python benchmarks/shadows.py --tables [--json]   membership attacks on digits and breast_cancer

Speed: 64-64-10 ReLU networks on digits / 16, each on its own 898 of 1797 records, 300 steps of
plain SGD, batch 64, learning rate 0.5; against torch modules with autograd, one after another, on
the same batches (which they get for nothing). Processor seconds of one thread, best of 3 that take
turns; the slow way trains 16 models and is scaled. In float64 the logits must agree to 1e-10.

Tables: 128 networks with one hidden layer, half of the records each, as many for all, SGD with
momentum 0.9 and learning rate 0.05, 1500 batches of 64 drawn with replacement. The first 32 are
targets, the others references. Scores of all targets pooled; the population of RMIA is every second
non-member of a target, and is scored too. Its best record dominates all of it, as members do, so
that RMIA's rate at 0.1 % false positives is decided by ties: areas are to be compared.
"""

import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import nn

from privassay.attacks.membership.lira import Lira
from privassay.attacks.membership.loss import Loss
from privassay.attacks.membership.rmia import Rmia
from privassay.attacks.shadow import held, train_shadows
from privassay.attacks.shadow_batches import WithReplacement
from privassay.attacks.shadow_design import equal_coins, require_same_law
from privassay.attacks.shadow_models import targets_of
from privassay.attacks.shadow_recipe import Recipe
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.models.cache import cache_folder
from privassay.fl_core.optimizers import PlainSgd, Sgd
from privassay.fl_core.plan import by_length
from privassay.mechanisms.base import SeededKey

KEY = SeededKey(0)
MODELS, TARGETS = 128, 32
SCALED = 16


def plain(params):
    return PlainSgd(0.5)


def momentum(params):
    return Sgd(0.05, momentum=0.9, weight_decay=0.0, like=params)


TWINS = {
    "plain SGD": (plain, lambda p: torch.optim.SGD(p, lr=0.5)),
    "SGD with momentum": (momentum, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
}


# Speed


def small_digits(dtype):
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x / 16).to(dtype), torch.from_numpy(y)


def one_after_another(recipe, x, y, design, descent, models):
    """(seconds, logits) of torch modules on the batches of the stacked training."""
    data = design.client_data(x, y)
    start = recipe.start(data, KEY)
    batches = [step.records for step in recipe.training.plan(data.take(by_length(data)), KEY)]
    seconds, logits = 0.0, []
    for model in range(models):
        module = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(x.dtype)
        with torch.no_grad():
            for twin, value in zip(module.parameters(), start.values(), strict=True):
                twin.copy_(value[model].mT if len(value[model]) > 1 else value[model][0])
        begun = time.process_time()
        optimizer = descent(module.parameters())
        for records in batches:
            some = records[model]
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[some]), y[some]).backward()
            optimizer.step()
        seconds += time.process_time() - begun
        logits.append(module(x).detach())
    return seconds, torch.stack(logits).double()


def speed(name, models):
    """Ratio of processor seconds in float32, and distance of the logits in float64."""
    optimizer, descent = TWINS[name]
    ours = theirs = float("inf")
    few = min(models, SCALED)
    for dtype, times in ((torch.float64, 1), (torch.float32, 3)):
        x, y = small_digits(dtype)
        design = equal_coins(y.numpy(), models=models, seed=0, records=898)
        training = WithReplacement(steps=300, batch_size=64)
        kernel = mlp((64, 64, 10))
        recipe = Recipe(kernel=kernel, training=training, optimizer=optimizer, dtype=dtype)
        for _ in range(times):
            begun = time.process_time()
            shadows = train_shadows(recipe, x, y, design, key=KEY)
            spent = time.process_time() - begun
            slow, logits = one_after_another(recipe, x, y, design, descent, few)
            if dtype == torch.float64:
                found = shadows.answers(x, y).logits[:few]
                distance = float((found - logits).abs().max())
            else:
                ours, theirs = min(ours, spent), min(theirs, slow * models / few)
    return {
        "optimizer": name,
        "models": models,
        "stacked s": ours,
        "one after another s": theirs,
        "ratio": theirs / ours,
        "float64 logits differ by": distance,
    }


# Tables


class Published(NamedTuple):
    """Area under the curve, and true positive rates at 1 % and 0.1 % false positives."""

    auc: float
    at_1: float
    at_01: float


TABLES = {
    "digits": {
        ("loss", 0): Published(0.536, 0.0, 0.0),
        ("LiRA online", 4): Published(0.598, 0.035, 0.009),
        ("LiRA online", 16): Published(0.638, 0.074, 0.023),
        ("LiRA online", 127): Published(0.658, 0.107, 0.056),
        ("LiRA offline", 4): Published(0.594, 0.036, 0.006),
        ("LiRA offline", 16): Published(0.611, 0.049, 0.010),
        ("LiRA offline", 127): Published(0.612, 0.047, 0.015),
        ("RMIA offline", 4): Published(0.610, 0.041, 0.017),
        ("RMIA offline", 16): Published(0.616, 0.050, 0.022),
        ("RMIA offline", 127): Published(0.612, 0.052, 0.022),
        ("RMIA online", 4): Published(0.621, 0.042, 0.013),
        ("RMIA online", 16): Published(0.622, 0.051, 0.020),
        ("RMIA online", 127): Published(0.618, 0.056, 0.025),
    },
    "digits, 20 % random labels": {
        ("loss", 0): Published(0.742, 0.016, 0.0),
        ("LiRA online", 4): Published(0.837, 0.215, 0.135),
        ("LiRA online", 16): Published(0.863, 0.260, 0.175),
        ("LiRA online", 127): Published(0.880, 0.295, 0.220),
        ("LiRA offline", 4): Published(0.757, 0.173, 0.036),
        ("LiRA offline", 16): Published(0.785, 0.208, 0.066),
        ("LiRA offline", 127): Published(0.801, 0.213, 0.155),
        ("RMIA offline", 4): Published(0.804, 0.212, 0.108),
        ("RMIA offline", 16): Published(0.820, 0.244, 0.191),
        ("RMIA offline", 127): Published(0.827, 0.252, 0.203),
        ("RMIA online", 4): Published(0.805, 0.142, 0.029),
        ("RMIA online", 16): Published(0.828, 0.229, 0.124),
        ("RMIA online", 127): Published(0.836, 0.256, 0.198),
    },
    "breast_cancer": {
        ("LiRA online", 4): Published(0.520, 0.011, 0.001),
        ("LiRA online", 16): Published(0.550, 0.017, 0.002),
        ("LiRA online", 127): Published(0.573, 0.055, 0.023),
        ("RMIA offline", 4): Published(0.555, 0.035, 0.012),
        ("RMIA offline", 16): Published(0.557, 0.039, 0.018),
        ("RMIA offline", 127): Published(0.559, 0.041, 0.017),
    },
}


def table_data(name):
    """(x float32[n, d], y int64[n], hidden units): standardised, labels redrawn if asked."""
    x, y = (load_breast_cancer if name == "breast_cancer" else load_digits)(return_X_y=True)
    if name != "breast_cancer":
        x = x / 16
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3)
    if "random labels" in name:
        rng = np.random.default_rng(0)
        y = np.where(rng.random(len(y)) < 0.2, rng.integers(0, 10, len(y)), y)
    hidden = 128 if name == "breast_cancer" else 256
    return torch.from_numpy(x).float(), torch.from_numpy(y.astype(np.int64)), hidden


def table_shadows(name, *, folder=None, say=None, seed=0):
    """(x, y, shadows) of one table."""
    x, y, hidden = table_data(name)
    design = equal_coins(y.numpy(), models=MODELS, seed=seed)
    require_same_law(held(design), x, y)
    kernel = mlp((x.shape[1], hidden, int(y.max()) + 1))
    training = WithReplacement(steps=1500, batch_size=64)
    recipe = Recipe(kernel=kernel, training=training, optimizer=momentum)
    key = SeededKey(seed)
    return x, y, train_shadows(recipe, x, y, design, key=key, folder=folder, say=say)


def every_second_outside(member):
    """bool[targets, records]: every second non-member of each target, the population of RMIA."""
    outside = ~member
    return outside & (outside.cumsum(dim=1) % 2 == 1)


def attack_of(name, references, population):
    if name == "loss":
        return Loss()
    family, _, mode = name.partition(" ")
    if family == "LiRA":
        return Lira(references=references, mode=mode)
    return Rmia(references=references, population=population, mode=mode, may_score_population=True)


def rates(scores, member):
    """Published-like numbers of scores float64[targets, records], pooled."""
    inside, outside = scores[member].numpy(), scores[~member].numpy()
    values = np.unique(np.concatenate([inside, outside]))
    below_in = np.searchsorted(np.sort(inside), values) / len(inside)
    below_out = np.searchsorted(np.sort(outside), values) / len(outside)
    tpr = np.concatenate([1.0 - below_in, [0.0]])[::-1]
    fpr = np.concatenate([1.0 - below_out, [0.0]])[::-1]
    auc = float(np.trapezoid(tpr, fpr))
    return Published(auc, *(float(tpr[fpr <= level].max()) for level in (0.01, 0.001)))


def table(name, *, folder=None, say=None, seed=0):
    """{(attack, references): measured} and accuracies on members and non-members."""
    x, y, shadows = table_shadows(name, folder=folder, say=say, seed=seed)
    answers = shadows.answers(x, y)
    right = (answers.logits.argmax(dim=2) == y).double()
    member = shadows.member[:TARGETS]
    population, view = every_second_outside(member), targets_of(answers, TARGETS)
    found = {}
    for attack, count in TABLES[name]:
        references = shadows.references(answers, targets=TARGETS, refs=count or 1)
        found[attack, count] = rates(attack_of(attack, references, population).score(view), member)
    accuracy = [float(right[shadows.member].mean()), float(right[~shadows.member].mean())]
    return found, accuracy


def main():
    torch.set_num_threads(1)
    as_json = "--json" in sys.argv
    if "--tables" not in sys.argv:
        for name, models in (("plain SGD", 64), ("plain SGD", 16), ("SGD with momentum", 64)):
            found = speed(name, models)
            if as_json:
                print(json.dumps(found))
                continue
            print(
                f"{models:3d} models, {name:18s} {found['stacked s']:6.2f} s, one after another "
                f"{found['one after another s']:6.2f} s, {found['ratio']:5.1f} x; float64 logits "
                f"differ by {found['float64 logits differ by']:.0e}"
            )
        return
    folder: Path = cache_folder() / "shadows"
    for name, published in TABLES.items():
        begun = time.process_time()
        found, accuracy = table(name, folder=folder)
        spent = time.process_time() - begun
        if as_json:
            rows = {f"{a}, {n}": list(value) for (a, n), value in found.items()}
            print(json.dumps({"data": name, "accuracy": accuracy, "found": rows}))
            continue
        print(f"{name}: accuracy in {accuracy[0]:.3f}, out {accuracy[1]:.3f}; {spent:.0f} s")
        print(f"  {'attack':14s} refs   AUC         TPR@1 %     TPR@.1 %    (published)")
        for (attack, count), now in found.items():
            then = published[attack, count]
            columns = "  ".join(f"{a:.3f} ({b:.3f})" for a, b in zip(now, then, strict=True))
            print(f"  {attack:14s} {count:4d} {columns}")


if __name__ == "__main__":
    main()
