"""Audit an Opacus training run on real digits: once as accounted, once with a wrong sampler.

    python examples/opacus_one_run.py

Both runs claim DP-SGD with Poisson sampling. The second one feeds every record in every step, so
the amplification that the accountant counted on is not there. The kit flips the coins and seals
them, the training loop is plain Opacus, and the kit turns one score per candidate into a verdict.
Takes about 15 seconds; needs `pip install opacus`.
"""

import sys
import warnings

import dp_accounting.dp_event as dpe
import numpy as np
import torch
from opacus import PrivacyEngine
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

import privassay as pa
from privassay.audit_reports.render.terminal import sheet

RATE, NOISE, CLIP, STEPS = 0.05, 1.5, 1.0, 150
CANDIDATES, ALWAYS, LEARNING_RATE, RIDGE = 400, 500, 0.01, 0.1
EVENT = dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(RATE, dpe.GaussianDpEvent(NOISE)), STEPS)


def data(seed=0):
    """Canaries (random pixels, random labels), and real digits that are always trained on."""
    x, y = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(x), generator=generator)[:ALWAYS]
    always = TensorDataset(
        torch.tensor(x / 16.0, dtype=torch.float32)[chosen], torch.tensor(y)[chosen]
    )
    pixels = torch.rand(CANDIDATES, 64, generator=generator)
    labels = torch.randint(0, 10, (CANDIDATES,), generator=generator)
    return TensorDataset(2.0 * pixels - 1.0, labels), always


def train(records: ConcatDataset, *, wrong_sampler: bool) -> tuple[nn.Module, torch.Tensor]:
    """A linear classifier by Opacus; also its first parameters."""
    torch.manual_seed(0)
    model = nn.Linear(64, 10)
    start = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    size = len(records) if wrong_sampler else int(RATE * len(records))
    loader = DataLoader(records, batch_size=size, shuffle=True)
    model, optimizer, loader = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=LEARNING_RATE),
        data_loader=loader,
        noise_multiplier=NOISE,
        max_grad_norm=CLIP,
        poisson_sampling=not wrong_sampler,
    )
    steps = 0
    while steps < STEPS:
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            steps += 1
            if steps == STEPS:
                break
    return model, start


def gradients(start: torch.Tensor, records: TensorDataset) -> np.ndarray:
    """Clipped gradients of the records at the first parameters, float[n, 650]."""
    weight, bias = start[:640].reshape(10, 64), start[640:]
    images, labels = records.tensors
    error = torch.softmax(images @ weight.T + bias, 1) - nn.functional.one_hot(labels, 10)
    found = torch.cat([(error[:, :, None] * images[:, None, :]).flatten(1), error], dim=1)
    return (found * torch.clamp(CLIP / found.norm(dim=1, keepdim=True), max=1.0)).double().numpy()


def scores(
    model: nn.Module, start: torch.Tensor, candidates: TensorDataset, always: TensorDataset
) -> np.ndarray:
    """How much of each candidate's gradient is in the way that the parameters went (ridge)."""
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - start
    mine, known = gradients(start, candidates), gradients(start, always).sum(axis=0)
    rest = -moved.double().numpy()
    rest = rest - known * (rest @ known) / (known @ known)  # what is always there is no news
    gram = mine @ mine.T + RIDGE * np.eye(len(mine))
    return np.linalg.solve(gram, mine @ rest)


def main(seed: int = 7) -> int:
    """Both runs; 0 if the verdicts are what they should be."""
    warnings.filterwarnings("ignore", message=".*(backward hook|Secure RNG|mode is off).*")
    torch.set_num_threads(1)
    claim = {"event": EVENT, "adjacency": "add-remove", "unit": "example"}
    words = []
    for wrong in (False, True):
        candidates, always = data()
        kit = pa.OneRunAudit(candidates, data=always, seed=seed, name=f"wrong_sampler={wrong}")
        print(f"\n{kit.name}: coins sealed, SHA-256 {kit.seal[:16]}..", flush=True)
        model, start = train(kit.training_set, wrong_sampler=wrong)
        record = kit.verdict(scores(model, start, candidates, always), claim)
        print("\n".join(sheet(record)))
        words.append(record.verdict.word)
    return 0 if words[0] != "REFUTED" and words[1] == "REFUTED" else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
