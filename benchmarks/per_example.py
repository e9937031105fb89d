"""Sums of per-example clipped gradients: ours beside plain SGD, loops, vmap and Opacus.

    python benchmarks/per_example.py [--json] [--seconds 4]

One thread, one process. Every method of a case gets the same records and parameters, its sum is
compared with ours before it is timed, and turns are taken in rounds, so that a busy machine slows
all of them. Milliseconds of processor time of that thread, the shortest run. Plain SGD (a mean
gradient, no clipping) is the floor. For several clients the peers run one client after another,
as they must. Opacus is measured as a kernel: gradients, norms and clipped sum, without its
optimizer, sampler and noise.
"""

import contextlib
import json
import sys
import time
import warnings

import torch
from torch import nn

from privassay.fl_core.kernels.adapters import Adapters
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.kernels.encode import token_features
from privassay.fl_core.kernels.functional import Functional
from privassay.fl_core.kernels.stacked import mlp

LOSS = torch.nn.functional.cross_entropy
RANK, ALPHA, CLASSES, TOKENS = 4, 8.0, 4, 32


class LowRankLinear(nn.Module):
    """What peft does, in the two linear layers that Opacus knows."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.lora_A = nn.Linear(base.in_features, RANK, bias=False)
        self.lora_B = nn.Linear(RANK, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + ALPHA / RANK * self.lora_B(self.lora_A(x))


class Classifier(nn.Module):
    """An encoder with low-rank layers, and a head on its first token."""

    def __init__(self, encoder, dim):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(dim, CLASSES)

    def forward(self, x):
        # Four axes: transformers takes such a mask as it is, also under vmap.
        mask = (x != 0)[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        return self.head(self.encoder(input_ids=x, attention_mask=mask).last_hidden_state[:, 0])


def perceptron(sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def bert():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=512, max_position_embeddings=64,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)


# ------------------------------------------------------------------------------------ peers
def plain(modules, x, y, clip):
    for module, records, labels in zip(modules, x, y, strict=True):
        loss = LOSS(module(records), labels)
        torch.autograd.grad(loss, [p for p in module.parameters() if p.requires_grad])


def loop(modules, x, y, clip):
    found = []
    for module, records, labels in zip(modules, x, y, strict=True):
        params = [p for p in module.parameters() if p.requires_grad]
        total = [torch.zeros_like(p) for p in params]
        for record, label in zip(records, labels, strict=True):
            gradients = torch.autograd.grad(LOSS(module(record[None]), label[None]), params)
            norm = torch.stack([g.norm() for g in gradients]).norm()
            factor = min(1.0, clip / float(norm))
            for value, gradient in zip(total, gradients, strict=True):
                value.add_(gradient, alpha=factor)
        found.append(total)
    return found


class Vmap:
    """Nested vmap(grad(functional_call)) over clients and records."""

    def __init__(self, modules):
        self.kernel = Functional(modules[0].eval(), chunk_size=64)
        self.params = {
            name: torch.stack(
                [dict(module.named_parameters())[name].detach() for module in modules]
            )
            for name in self.kernel.shapes()
        }

    def __call__(self, modules, x, y, clip):
        ones = torch.ones(y.shape)
        sums = self.kernel.clipped_sums(self.params, x, y, ones, cross_entropy, {}, clip_norm=clip)
        return [[value[row] for value in sums.values()] for row in range(len(modules))]


def opacus_hooks(wrapped, x, y, clip):
    found = []
    for module, records, labels in zip(wrapped, x, y, strict=True):
        module.zero_grad()
        LOSS(module(records), labels, reduction="sum").backward()
        samples = [p.grad_sample for p in module.parameters() if p.requires_grad]
        norms = torch.stack([s.flatten(1).norm(dim=1) for s in samples]).norm(dim=0)
        factor = (clip / (norms + 1e-6)).clamp(max=1.0)
        found.append([torch.einsum("n,n...->...", factor, s) for s in samples])
    return found


def opacus_ghost(wrapped, x, y, clip):
    found = []
    for module, records, labels in zip(wrapped, x, y, strict=True):
        module.zero_grad()
        losses = LOSS(module(records), labels, reduction="none")
        losses.sum().backward(retain_graph=True)
        factor = module.get_clipping_coef()
        module.disable_hooks()
        module.zero_grad()
        (losses * factor).sum().backward()
        module.enable_hooks()
        found.append([p.grad for p in module.parameters() if p.requires_grad])
    return found


# ------------------------------------------------------------------------------------ cases
def of_perceptron(sizes, clients, batch):
    torch.manual_seed(1)
    modules = [perceptron(sizes) for _ in range(clients)]
    x, y = torch.randn(clients, batch, sizes[0]), torch.randint(0, sizes[-1], (clients, batch))
    net = mlp(sizes)
    values = [[p.detach() for p in module.parameters()] for module in modules]
    params = {
        name: torch.stack([row[i].T.reshape(shape) for row in values])
        for i, (name, shape) in enumerate(net.shapes().items())
    }

    def as_torch(sums):
        return [
            [v[row].T if v.shape[1] > 1 else v[row, 0] for v in sums.values()]
            for row in range(clients)
        ]

    return modules, x, y, net, params, as_torch


def of_bert(batch):
    encoder, twin = bert(), bert()
    layers = [layer.attention.self for layer in twin.encoder.layer]
    for layer in layers:
        layer.query, layer.value = LowRankLinear(layer.query), LowRankLinear(layer.value)
    module = Classifier(twin, 128)
    x = torch.randint(1, 1000, (1, batch, TOKENS))
    for record, length in enumerate(torch.randint(8, TOKENS + 1, (batch,)).tolist()):
        x[0, record, length:] = 0
    y = torch.randint(0, CLASSES, (1, batch))
    kernel = Adapters(
        encoder=encoder, targets=("query", "value"), rank=RANK, alpha=ALPHA,
        head=mlp((128, CLASSES)), encode=token_features(0, "first"),
    )  # fmt: skip
    trained = {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}
    params = {}
    for name, shape in kernel.shapes().items():
        if "lora" in name:
            params[name] = trained[f"encoder.{name}"].unsqueeze(0).clone()
        else:
            value = trained["head" + name[1:]]
            params[name] = (value.T if value.dim() > 1 else value).reshape(1, *shape)

    def as_torch(sums):
        return [
            [sums[n.removeprefix("encoder.")][0] if "lora" in n
             else (sums["1.weight"][0].T if n == "head.weight" else sums["1.bias"][0, 0])
             for n in trained]
        ]  # fmt: skip

    return [module], x, y, kernel, params, as_torch


CASES = {
    "MLP 64-128-10, B = 16": lambda: of_perceptron((64, 128, 10), 1, 16),
    "MLP 64-128-10, B = 256": lambda: of_perceptron((64, 128, 10), 1, 256),
    "MLP 512-512-10, B = 256": lambda: of_perceptron((512, 512, 10), 1, 256),
    "BERT LoRA r = 4, B = 16": lambda: of_bert(16),
    "BERT LoRA r = 4, B = 64": lambda: of_bert(64),
    "10 clients x 16, MLP 64-128-10": lambda: of_perceptron((64, 128, 10), 10, 16),
}


def measure(case, seconds):
    """Method -> milliseconds; None where a method does not run."""
    from opacus.grad_sample import GradSampleModule
    from opacus.grad_sample import GradSampleModuleFastGradientClipping as Ghost

    modules, x, y, kernel, params, as_torch = CASES[case]()
    ones = torch.ones(y.shape)
    norms = [
        float(torch.stack([g.norm() for g in one]).norm())
        for one in loop(modules, x[:, :1], y[:, :1], 1e9)
    ]
    clip = norms[0]

    def ours(modules, x, y, clip):
        return kernel.clipped_sums(params, x, y, ones, cross_entropy, {}, clip_norm=clip)

    wanted = as_torch(ours(modules, x, y, clip))
    times = {}

    def add(name, method, given, check=True):
        try:
            found = method(given, x, y, clip)
        except RuntimeError as error:
            print(
                f"  {case}: {name} does not run: {str(error).splitlines()[0][:90]}", file=sys.stderr
            )
            return None
        if check:
            found = as_torch(found) if isinstance(found, dict) else found
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-5)
        times[name] = float("inf")
        return name, method, given

    turns = [add("plain SGD", plain, modules, check=False), add("loop", loop, modules)]
    turns.append(add("vmap(grad)", Vmap(modules), modules))
    turns.append(add("ours", ours, modules))
    _round(turns, x, y, clip, times, seconds)
    # Opacus marks the parameters of what it wraps, so it gets the modules last, one mode a time.
    for name, wrap, method in (
        ("Opacus hooks", GradSampleModule, opacus_hooks),
        ("Opacus ghost", lambda m, **k: Ghost(m, max_grad_norm=clip, **k), opacus_ghost),
    ):
        wrapped = [wrap(m.train(), strict=False, loss_reduction="sum") for m in modules]
        turn = [add(name, method, wrapped), add("ours", ours, modules)]
        _round(turn, x, y, clip, times, seconds / 2)
        for module in wrapped:
            module.remove_hooks()
            for p in module.parameters():
                for mark in ("grad_sample", "_norm_sample", "_forward_counter"):
                    with contextlib.suppress(AttributeError):
                        delattr(p, mark)
    return times


def _round(turns, x, y, clip, times, seconds):
    """Turns in rounds until the time is over; the shortest run of each is kept."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, method, given in [turn for turn in turns if turn]:
            start = time.thread_time()
            method(given, x, y, clip)
            times[name] = min(times[name], 1000 * (time.thread_time() - start))


def main(as_json, seconds):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Opacus' hooks warn about inputs without gradient
    names = ("plain SGD", "loop", "vmap(grad)", "Opacus hooks", "Opacus ghost", "ours")
    rows = []
    if not as_json:
        heads = "".join(f"{name:>14}" for name in names)
        print(f"{'ms of processor, shortest':32}{heads}{'ours/plain':>12}{'Opacus/ours':>13}")
    for case in CASES:
        times = measure(case, seconds)
        best = min(times[name] for name in names if name.startswith("Opacus") and name in times)
        rows.append({"case": case, "ms": times, "opacus_over_ours": best / times["ours"]})
        if not as_json:
            cells = [f"{times[n]:14.3f}" if n in times else f"{'-':>14}" for n in names]
            ratios = (times["ours"] / times["plain SGD"], best / times["ours"])
            print(f"{case:32}" + "".join(cells) + "{:12.2f}{:13.2f}".format(*ratios))
    if as_json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    given = sys.argv[1:]
    length = float(given[given.index("--seconds") + 1]) if "--seconds" in given else 4.0
    main("--json" in given, length)
