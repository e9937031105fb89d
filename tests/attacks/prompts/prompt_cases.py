"""Prompts and records that the tests of attacks on tuned prompts share."""

import torch

from privassay.attacks.prompts.released import Records, Released
from privassay.audit_reports.selftest.prompt_stand_in import (
    LENGTH,
    WIDTH,
    stand_in,
    untouched,
)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def random_prompts(count, seed=0):
    first = untouched().prompts["context"]
    moved = first + 0.7 * torch.randn(count, LENGTH, WIDTH, generator=draw(seed))
    return Released(kernel=stand_in().kernel, prompts={"context": moved})


def records(count, seed=0):
    world = stand_in()
    chosen = torch.randperm(len(world.y), generator=draw(seed))[:count]
    return Records(world.x[chosen], world.y[chosen])
