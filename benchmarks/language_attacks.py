"""Attacks on a real language model: SmolLM2-135M with one adapter, tuned on Shakespeare.

    python benchmarks/language_attacks.py [--texts 100] [--epochs 4] [--shadows 0] [--device cpu]

Half of the texts, half of the canaries and the keys of half of the owners (numbers below 100, each
four times) are tuned on, chosen at random; the attacks see the tuned model. Prints for each attack
the area under the curve and the share of members above all but 1 % of the others, and CPU seconds.
These describe one run of one model; the intervals of such few texts are wide: nothing here is a
bound.

The members are drawn from the same speeches as the others, so no difference of date or topic helps.
"""

import argparse
import json
import time

import numpy as np
import torch

from privassay.attacks.language.exposure import Exposure
from privassay.attacks.language.extraction import GreedyExtraction
from privassay.attacks.language.loss import TextLoss
from privassay.attacks.language.min_k import MinK, MinKPlusPlus
from privassay.attacks.language.neighbourhood import Neighbourhood, neighbours
from privassay.attacks.language.new_token_canary import (
    NewTokenCanary,
    new_token_canaries,
    unused_tokens,
)
from privassay.attacks.language.recall import Recall, with_prefix
from privassay.attacks.language.reference import ReferenceDifference, as_answers
from privassay.attacks.language.token_scores import base_model, text_scores, token_scores
from privassay.attacks.language.zlib_ratio import ZlibRatio
from privassay.attacks.membership.lira import Lira
from privassay.attacks.membership.outputs import References
from privassay.audit_reports.estimators.auc import auc
from privassay.audit_reports.estimators.clopper_pearson import lower_limit, upper_limit
from privassay.fl_core.algorithms.fedavg import local_order
from privassay.fl_core.clients import ClientData
from privassay.fl_core.counters import Counter
from privassay.fl_core.data.streams import stream
from privassay.fl_core.data.text import load_shakespeare
from privassay.fl_core.models.language import load_language_model
from privassay.fl_core.models.language_kernels import causal, next_token_loss
from privassay.fl_core.optimizers import AdamW
from privassay.fl_core.plan import steps
from privassay.fl_core.training import train
from privassay.mechanisms.base import SeededKey

LENGTH, SHORTEST, BEGINNING = 24, 14, 8
OWNERS, REPEATS = ("Anna", "Boris", "Clara", "David", "Emma", "Frank"), 4


def chosen_texts(tokenizer, count, seed):
    """Speeches of SHORTEST to LENGTH tokens; no text twice."""
    pool = sorted({text for text in load_shakespeare().texts if len(text) < 5 * LENGTH})
    draw = stream("language benchmark", seed)
    some = [pool[place] for place in draw.choice(len(pool), 8 * count, replace=False)]
    sizes = (tokenizer.encode(some, LENGTH + 1) != tokenizer.padding).sum(dim=1).tolist()
    found = [t for t, size in zip(some, sizes, strict=True) if SHORTEST <= size <= LENGTH]
    if len(found) < count:
        raise SystemExit(f"only {len(found)} texts of {SHORTEST} to {LENGTH} tokens; ask for fewer")
    return found[:count]


def tune(kernel, x, member, *, epochs, rate, batch, seed, device):
    """Adapters of bool[rows, records] members, each row from its own start."""
    rows = len(member)
    parts = [torch.nonzero(row).flatten().numpy() for row in member]
    data = ClientData.of(
        x, torch.zeros(len(x), dtype=torch.int64), parts, clients=list(range(rows)), virtual=True
    ).to(device)
    order = data.lengths.argsort(descending=True, stable=True)
    data = data.take(order)
    key = SeededKey(seed)
    params = kernel.initial(Counter.of(key, "adapters"), data.clients, data.replicas)
    plan = steps(data, epochs=epochs, batch_size=batch, order=local_order(key, 0))
    optimizer = AdamW(learning_rate=rate, like=params, weight_decay=0.0)
    train(kernel, params, data, plan, loss=next_token_loss, optimizer=optimizer)
    back = order.argsort()
    return {name: value[back] for name, value in params.items()}


def keys(tokenizer, owner):
    """int64[100, tokens]: what the key of an owner may be."""
    texts = [f"The key of {owner} is {number:02d}" for number in range(100)]
    x = tokenizer.encode(texts, LENGTH)
    return x[:, (x != tokenizer.padding).any(dim=0)]


def half(rows, count, seed):
    """bool[rows, count]: in each row a random half."""
    weight = stream("language benchmark members", seed).random((rows, count))
    return torch.from_numpy(weight.argsort(axis=1).argsort(axis=1) < count // 2)


def row(name, scores, member, seconds):
    """What the table says of one attack."""
    scores, member = scores.flatten().numpy(), member.flatten().numpy()
    inside, outside = scores[member], scores[~member]
    allowed = int(0.01 * outside.size)
    threshold = np.sort(outside)[outside.size - 1 - allowed]
    hits = int((inside > threshold).sum())
    return {
        "attack": name,
        "AUC": auc(inside, outside),
        "TPR@1%": hits / inside.size,
        "from": float(lower_limit(hits, inside.size, 0.025)),
        "to": float(upper_limit(hits, inside.size, 0.025)),
        "n": f"{inside.size}+{outside.size}",
        "CPU s": seconds,
    }


def of_secrets(views, secrets, member, seconds):
    """What is found of the keys that were tuned on, and of the others."""
    numbers = [torch.tensor([int(key)]) for key in secrets]
    pairs = list(zip(views, numbers, strict=True))
    bits = torch.tensor([float(Exposure().score(v, key)) for v, key in pairs])
    # The last two positions are the digits.
    known = int(views[0].lengths[0]) - 1
    attack = GreedyExtraction(given=known)
    said = torch.tensor([float(attack.score(v, key)) == 1.0 for v, key in pairs])
    inside, outside = int(member.sum()), int((~member).sum())
    return {
        "attack": "keys",
        "exposure of those tuned on, bits of 6.64": float(bits[member].mean()),
        "of others": float(bits[~member].mean()),
        "written by greedy decoding": f"{int(said[member].sum())} of {inside}",
        "others written": f"{int(said[~member].sum())} of {outside}",
        "CPU s": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--canaries", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--neighbours", type=int, default=3, help="of each text")
    parser.add_argument("--shadows", type=int, default=0, help="adapters of the adversary's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(arguments)
    if arguments.json:
        print(json.dumps(found))
        return
    for each in found:
        cells = [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in each.items()]
        print("; ".join(cells))


def measure(arguments):
    """Rows of the table; the first is about the run itself."""
    seed, device = arguments.seed, arguments.device
    model = load_language_model("smollm2-135m", device=device)
    kernel = causal(model, rank=8, alpha=16.0, max_records=16 if device == "cpu" else 128)
    tokenizer, padding = model.tokenizer, model.tokenizer.padding
    *texts, before = chosen_texts(tokenizer, arguments.texts + arguments.canaries + 1, seed)
    texts, beginnings = texts[: arguments.texts], texts[arguments.texts :]
    x = tokenizer.encode(texts, LENGTH)
    free = unused_tokens(
        tokenizer.encode([*texts, *beginnings], LENGTH), vocabulary=tokenizer.size, padding=padding
    )
    picked = stream("language benchmark tokens", seed).choice(free.numpy(), len(beginnings), False)
    canaries = new_token_canaries(
        tokenizer.encode(beginnings, BEGINNING), torch.from_numpy(picked), padding=padding
    )
    secrets = stream("language benchmark keys", seed).integers(0, 100, len(OWNERS))
    possible = [keys(tokenizer, owner) for owner in OWNERS]
    told = [each[key : key + 1] for each, key in zip(possible, secrets, strict=True)]
    everything = torch.cat(
        [
            torch.nn.functional.pad(part, (0, LENGTH - part.shape[1]), value=padding)
            for part in (x, canaries, *(REPEATS * told))
        ]
    )
    models = 1 + arguments.shadows
    owned = half(models, len(OWNERS), seed + 2)
    member = torch.cat(
        [half(models, len(x), seed), half(models, len(canaries), seed + 1),
         owned.repeat(1, REPEATS)], dim=1,
    )  # fmt: skip

    clock = time.process_time
    start = clock()
    params = tune(
        kernel, everything, member, epochs=arguments.epochs, rate=arguments.rate, batch=8,
        seed=seed, device=device,
    )  # fmt: skip
    tuned_in = clock() - start
    target = {name: value[:1] for name, value in params.items()}
    base = base_model(kernel, device=device)

    def timed(function, *given, **more):
        start = clock()
        found = function(*given, **more)
        return found, clock() - start

    view, asked = timed(text_scores, model, kernel, target, texts, length=LENGTH, moments=True)
    plain, extra = timed(text_scores, model, kernel, base, texts, length=LENGTH)
    prefix = tokenizer.encode([before], LENGTH)[0]
    prefix = prefix[prefix != padding]
    longer = with_prefix(x, prefix, padding=padding).to(device)
    prefixed, longer_in = timed(token_scores, model, kernel, target, longer, prefix=len(prefix))
    around, made = timed(
        neighbours, model, kernel, base, x.to(device), count=arguments.neighbours, seed=seed
    )
    near, near_in = timed(token_scores, model, kernel, target, around.flatten(0, 1))
    of_canaries, canaries_in = timed(token_scores, model, kernel, target, canaries.to(device))
    canaries_base = token_scores(model, kernel, base, canaries.to(device))

    of_keys, keys_in = timed(
        lambda: [token_scores(model, kernel, target, each.to(device)) for each in possible]
    )

    truth, planted = member[:1, : len(x)], member[:1, len(x) : len(x) + len(canaries)]
    average, before_tuning = view.average(), plain.average()
    found = [
        {
            "run": f"{len(texts)} texts and {len(canaries)} canaries, half of each tuned on",
            "epochs": arguments.epochs,
            "rate": arguments.rate,
            "loss of base": -float(before_tuning.mean()),
            "of members": -float(average[truth].mean()),
            "of others": -float(average[~truth].mean()),
            "tuning CPU s": tuned_in,
        },
        row("loss", TextLoss().score(view), truth, asked),
        row("zlib", ZlibRatio().score(view), truth, asked),
        row("min-k 20 %", MinK().score(view), truth, asked),
        row("min-k++ 20 %", MinKPlusPlus().score(view), truth, asked),
        row("base as reference", ReferenceDifference(reference=plain).score(view), truth,
            asked + extra),
        row("neighbourhood", Neighbourhood(neighbours=near).score(view), truth,
            asked + made + near_in),
        row("recall", Recall(prefixed=prefixed).score(view), truth, asked + longer_in),
        row("new token", NewTokenCanary().score(of_canaries), planted, canaries_in),
        row("new token, minus base", NewTokenCanary(reference=canaries_base).score(of_canaries),
            planted, 2 * canaries_in),
        row("canaries by their loss", TextLoss().score(of_canaries), planted, canaries_in),
        of_secrets(of_keys, secrets, owned[0], keys_in),
    ]  # fmt: skip
    if arguments.shadows:
        own = {name: value[1:] for name, value in params.items()}
        shadows, shadows_in = timed(text_scores, model, kernel, own, texts, length=LENGTH)
        references = References(
            answers=as_answers(shadows),
            member=member[1:, : len(x)],
            allowed=torch.ones(1, arguments.shadows, dtype=torch.bool),
        )
        scores = Lira(references=references).score(as_answers(view))
        found.append(row(f"LiRA, {arguments.shadows} shadows", scores, truth, asked + shadows_in))
    return found


if __name__ == "__main__":
    main()
