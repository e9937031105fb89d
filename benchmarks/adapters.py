"""Adapters and prompts: all clients in one step beside one client after another.

    python benchmarks/adapters.py [--passes 7] [--device cpu] [--smollm2 32] [--json]

Each row is one gradient step of every client, the same computation three times:

- stacked: one call for all clients (`kernels/adapters.py`);
- one by one: the same code, client after client;
- plain: client after client, as a torch module with low-rank layers and autograd, which is what a
  loop over peft models does.

Prompts are tried likewise: contexts of 4 vectors for ten classes, and 16 records of each client,
whose gradients are averaged, or clipped one by one; there the token column is the context's length.

Small random models of hidden size 64 with 2 layers, rank 4, one thread on a CPU. The passes of all
three alternate, so that a busy machine is busy for all; the smallest time of each counts. What is
computed is compared: the largest difference is in the table. GPT-2 is left out: its layers are
`Conv1D`, which the adapters do not take. `--smollm2 N` adds a row of the real model (asset
smollm2-135m) with N clients.

Other files add cases: a function that returns `Case`s, named in `SOURCES`.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402
from torch import nn  # noqa: E402

from privassay.fl_core.kernels.adapters import Adapters  # noqa: E402
from privassay.fl_core.kernels.base import cross_entropy, flatten  # noqa: E402
from privassay.fl_core.kernels.encode import token_features  # noqa: E402
from privassay.fl_core.kernels.prompts import Prompts, one_context  # noqa: E402
from privassay.fl_core.kernels.stacked import mlp  # noqa: E402
from privassay.fl_core.models.language import load_language_model  # noqa: E402
from privassay.fl_core.models.language_kernels import causal, next_token_loss  # noqa: E402
from privassay.fl_core.models.text_tower import TextTower  # noqa: E402

HIDDEN, VOCABULARY, CLASSES = 64, 200, 4
PROMPT, PROMPT_CLASSES = 4, 10  # vectors of a prompt; classes that it is tried with


@dataclass(frozen=True)
class Case:
    """One row of the table; each way returns float[clients, parameters] of gradients."""

    name: str
    clients: int
    batch: int
    tokens: int
    ways: dict[str, Callable[[], torch.Tensor]]


class LowRank(nn.Module):
    """A frozen linear layer with factors of its own, as peft writes it."""

    def __init__(self, layer, rank, scaling):
        super().__init__()
        self.layer, self.scaling = layer, scaling
        self.a = nn.Parameter(torch.empty(rank, layer.in_features, device=layer.weight.device))
        self.b = nn.Parameter(torch.empty(layer.out_features, rank, device=layer.weight.device))

    def forward(self, x):
        return self.layer(x) + self.scaling * (x @ self.a.T) @ self.b.T


def plain_gradients(kernel, params, x, y, loss):
    """One client after another: the encoder with `LowRank` layers, the head, autograd."""
    layers = {}
    for name in kernel.layers:
        parent = kernel.encoder.get_submodule(name.rpartition(".")[0])
        last = name.rpartition(".")[2]
        layers[name] = (parent, last, getattr(parent, last))
        adapted = LowRank(layers[name][2], kernel.rank, kernel.alpha / kernel.rank)
        setattr(parent, last, adapted)
    found = []
    try:
        for row in range(len(x)):
            leaves = []
            for name, (parent, last, _) in layers.items():
                adapted = getattr(parent, last)
                adapted.a.data.copy_(params[f"{name}.lora_A.weight"][row])
                adapted.b.data.copy_(params[f"{name}.lora_B.weight"][row])
                leaves += [adapted.a, adapted.b]
            head = {n: params[n][row].clone().requires_grad_() for n in kernel.head.shapes()}
            features = kernel.encode(kernel.encoder, x[row])
            if head:
                features = features @ head["1.weight"] + head["1.bias"]
                value = torch.nn.functional.cross_entropy(features, y[row])
            else:
                value = features[:, 0].mean()
            gradients = torch.autograd.grad(value, [*leaves, *head.values()])
            found.append(torch.cat([g.flatten() for g in gradients]))
    finally:
        for parent, last, layer in layers.values():
            setattr(parent, last, layer)
    return torch.stack(found)


def lora(name, kernel, clients, batch, tokens, loss, vocabulary, device):
    """A case of one kernel with random factors and records."""
    generator = torch.Generator().manual_seed(0)
    params = {
        n: (0.1 * torch.randn(clients, *shape, generator=generator)).to(device)
        for n, shape in kernel.shapes().items()
    }
    x = torch.randint(1, vocabulary, (clients, batch, tokens), generator=generator).to(device)
    y = torch.randint(0, CLASSES, (clients, batch), generator=generator).to(device)
    weights = torch.full((clients, batch), 1.0 / batch, device=device)

    def stacked():
        return flatten(kernel.gradients(params, x, y, weights, loss, {}))

    def one_by_one():
        rows = [
            kernel.gradients({n: v[i : i + 1] for n, v in params.items()},
                             x[i : i + 1], y[i : i + 1], weights[i : i + 1], loss, {})
            for i in range(clients)
        ]  # fmt: skip
        return torch.cat([flatten(row) for row in rows])

    ways = {
        "stacked": stacked,
        "one by one": one_by_one,
        "plain": lambda: plain_gradients(kernel, params, x, y, loss),
    }
    return Case(name, clients, batch, tokens, ways)


def random_model(kind, device):
    """A small BERT or Llama encoder, frozen."""
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

    torch.manual_seed(0)
    size = {
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 4 * HIDDEN, "max_position_embeddings": 64,
    }  # fmt: skip
    if kind == "BERT":
        module = BertModel(BertConfig(**size), add_pooling_layer=False)
    else:
        module = LlamaModel(LlamaConfig(**size))
    return module.eval().requires_grad_(False).to(device)


def low_rank_cases(arguments):
    """Client-stacked LoRA on classifiers; and the real causal model, if it is asked for."""
    found = []
    for kind, targets, pool in (
        ("BERT", ("query", "value"), "first"),
        ("Llama", ("q_proj", "v_proj"), "last"),
    ):
        kernel = Adapters(
            encoder=random_model(kind, arguments.device), targets=targets, rank=4, alpha=8.0,
            head=mlp((HIDDEN, CLASSES)), encode=token_features(0, pool), max_records=1024,
        )  # fmt: skip
        for clients, batch, tokens in ((8, 4, 32), (8, 1, 16), (32, 1, 16), (8, 16, 32)):
            found.append(
                lora(f"LoRA, {kind}", kernel, clients, batch, tokens, cross_entropy, VOCABULARY,
                     arguments.device)
            )  # fmt: skip
    if arguments.smollm2:
        model = load_language_model("smollm2-135m", device=arguments.device)
        kernel = causal(
            model, rank=8, alpha=16.0, max_records=arguments.smollm2 * arguments.batch,
            bfloat16=arguments.bfloat16,
        )  # fmt: skip
        found.append(
            lora("LoRA, SmolLM2-135M", kernel, arguments.smollm2, arguments.batch,
                 arguments.tokens, next_token_loss, 49_000, arguments.device)
        )  # fmt: skip
    return found


def prompt_text():
    """Ten classes of a random BERT, whose context is learned: 4 vectors in front of two tokens."""
    module = random_model("BERT", "cpu")
    into = torch.randn(HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(1)) / HIDDEN**0.5

    def encode(embeds, real):
        hidden = module(inputs_embeds=embeds, attention_mask=real.long()).last_hidden_state
        inside = real.unsqueeze(-1).to(hidden)
        return (hidden * inside).sum(dim=1) / inside.sum(dim=1) @ into

    tower = TextTower(
        module=module,
        embedding=module.get_input_embeddings().weight.detach(),
        encode=encode,
        tokens=lambda text: [1, *(2 + ord(letter) % 190 for letter in text), 199],
        dimension=HIDDEN,
    )
    return tower.classes([str(number) for number in range(PROMPT_CLASSES)], length=PROMPT)


def prompts(name, kernel, clients, batch, clip_norm):
    """A case of soft prompts: mean gradients, or sums of gradients that are clipped each."""
    generator = torch.Generator().manual_seed(0)
    context = 0.1 * torch.randn(clients, PROMPT, HIDDEN, generator=generator)
    x = torch.randn(clients, batch, HIDDEN, generator=generator)
    y = torch.randint(0, PROMPT_CLASSES, (clients, batch), generator=generator)
    weights = torch.full((clients, batch), 1.0 / batch)

    def some(rows, records=slice(None)):
        parts = ({"context": context[rows]}, x[rows, records], y[rows, records])
        if clip_norm is None:
            found = kernel.gradients(*parts, weights[rows, records], cross_entropy, {})
        else:
            found = kernel.clipped_sums(
                *parts, weights[rows, records], cross_entropy, {}, clip_norm=clip_norm
            )
        return flatten(found)

    def plain():
        """Autograd, client after client; record after record where gradients are clipped."""
        found = []
        for row in range(clients):
            leaf, total = context[row].clone().requires_grad_(), torch.zeros_like(context[row])
            parts = [[k] for k in range(batch)] if clip_norm is not None else [list(range(batch))]
            for part in parts:
                text = kernel.text.features(leaf[None])[0]
                image = torch.nn.functional.normalize(x[row, part], dim=-1)
                value = torch.nn.functional.cross_entropy(
                    kernel.scale * image @ text.T, y[row, part]
                )
                (gradient,) = torch.autograd.grad(value, leaf)
                if clip_norm is not None:
                    gradient = gradient * min(1.0, clip_norm / float(gradient.norm())) / batch
                total = total + gradient
            found.append(total.flatten())
        return torch.stack(found)

    ways = {
        "stacked": lambda: some(slice(None)),
        "one by one": lambda: torch.cat([some(slice(i, i + 1)) for i in range(clients)]),
        "plain": plain,
    }
    return Case(name, clients, batch, PROMPT, ways)


def prompt_cases(_arguments):
    """Client-stacked soft prompts, with and without clipping of each record; on the CPU."""
    kernel = Prompts(text=prompt_text(), form=one_context(PROMPT, HIDDEN), scale=20.0)
    return [
        prompts(name, kernel, clients, 16, clip_norm)
        for name, clip_norm in (("prompts", None), ("prompts, clipped", 0.1))
        for clients in (8, 32)
    ]


SOURCES = [low_rank_cases, prompt_cases]
"""Functions of the arguments that give cases."""


def measure(case, passes, device):
    """Smallest time of each way, ratios to the stacked one, and the largest difference."""

    def once(way):
        start = time.perf_counter()
        found = way()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start, found

    results = {name: once(way)[1] for name, way in case.ways.items()}  # warms up, too
    times = {name: [] for name in case.ways}
    for _ in range(passes):
        for name, way in case.ways.items():
            times[name].append(once(way)[0])
    best = {name: min(each) for name, each in times.items()}
    first = results["stacked"]
    row = {"case": case.name, "clients, batch, tokens": (case.clients, case.batch, case.tokens)}
    row |= {f"{name} ms": 1e3 * value for name, value in best.items()}
    row |= {
        f"{name} / stacked": v / best["stacked"] for name, v in best.items() if name != "stacked"
    }
    row["largest difference"] = max(float((each - first).abs().max()) for each in results.values())
    row["largest gradient"] = float(first.abs().max())
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smollm2", type=int, default=0, help="clients of the real causal model")
    parser.add_argument("--batch", type=int, default=1, help="records per client, with --smollm2")
    parser.add_argument("--tokens", type=int, default=64, help="of a record, with --smollm2")
    parser.add_argument("--bfloat16", action="store_true", help="with --smollm2, on CUDA")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        measure(case, arguments.passes, arguments.device)
        for source in SOURCES
        for case in source(arguments)
    ]
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        cells = [
            f"{name} {value:.3g}" if isinstance(value, float) else str(value)
            for name, value in row.items()
        ]
        print("; ".join(cells))


if __name__ == "__main__":
    main()
