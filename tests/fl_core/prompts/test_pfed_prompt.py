"""pFedPrompt: attention over a client's own records, which nothing that is trained looks at."""

import math
from dataclasses import replace

import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.fl_core.algorithms.dp_fpl import without_records
from privassay.fl_core.algorithms.pfed_prompt import PromptsWithMemory, memory
from privassay.fl_core.counters import Counter
from privassay.fl_core.kernels.base import cross_entropy
from privassay.fl_core.kernels.prompts import Prompts, one_context
from privassay.mechanisms.base import SeededKey

from .conftest import CLASSES, DIM, LENGTH, WIDTH, some_clients

WEIGHT, SHARPNESS = 1.3, 2.5


def kernels(text):
    form = one_context(LENGTH, WIDTH)
    return Prompts(text=text, form=form, scale=20.0), PromptsWithMemory(
        text=text, form=form, scale=20.0, weight=WEIGHT, sharpness=SHARPNESS
    )


def start(kernel, rows):
    clients = torch.arange(rows)
    return kernel.initial(Counter.of(SeededKey(1), "model"), clients, clients * 0)


def test_scores_are_the_prompts_own_and_a_sum_over_records(text):
    plain, remembering = kernels(text)
    data = some_clients((5, 2, 0))
    params = start(plain, 3)
    x = torch.randn(3, 4, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = remembering.outputs(params | memory(data, CLASSES), x)
    wanted = plain.outputs(params, x)
    assert torch.equal(found.features, wanted.features)
    for row in range(3):
        for record in range(4):
            scores = wanted.logits[row, record].clone()
            for held in data.index[row, : data.lengths[row]].tolist():
                cosine = torch.nn.functional.cosine_similarity(x[row, record], data.x[held], dim=0)
                near = math.exp(-SHARPNESS * (1.0 - float(cosine)))
                scores[data.y[held]] += WEIGHT * 20.0 / 100.0 * near
            assert torch.allclose(found.logits[row, record], scores, atol=1e-10), (row, record)
    assert torch.equal(found.logits[2], wanted.logits[2]), "nothing in memory, nothing added"


def test_a_memory_holds_its_own_clients_records_alone():
    data = some_clients((5, 2, 3))
    others = torch.ones(len(data.y), dtype=torch.bool)
    others[data.index[1, :2]] = False
    changed = replace(data, x=data.x.masked_fill(others.unsqueeze(1), 7.0), y=data.y * ~others)
    first, other = memory(data, CLASSES), memory(changed, CLASSES)
    for name in ("keys", "values"):
        assert torch.equal(first[name][1], other[name][1]), name
        assert not torch.equal(first[name][0], other[name][0]), name
        assert not float(first[name][1, 2:].abs().max()), "padding"
    assert first["keys"].norm(dim=-1).gt(0.5).sum(dim=1).tolist() == [5, 2, 3]
    empty = memory(without_records(data), CLASSES)
    assert not any(float(value.abs().max()) for value in empty.values())


def test_training_does_not_look_at_the_memory(text):
    """Else a record's gradient would depend on the client's other records."""
    plain, remembering = kernels(text)
    params = start(plain, 2)
    x = torch.randn(2, 3, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y, weights = torch.tensor([[0, 1, 2], [3, 4, 0]]), torch.ones(2, 3, dtype=torch.float64)
    both = [
        each.clipped_sums(params, x, y, weights, cross_entropy, {}, clip_norm=0.5)["context"]
        for each in (plain, remembering)
    ]
    assert torch.equal(*both) and float(both[0].norm()) > 0.1
    assert remembering.shapes() == plain.shapes()


def test_constants_must_be_positive(text):
    for wrong in ({"weight": 0.0}, {"sharpness": -1.0}):
        with pytest.raises(ParameterError):
            PromptsWithMemory(text=text, form=one_context(LENGTH, WIDTH), scale=1.0, **wrong)
