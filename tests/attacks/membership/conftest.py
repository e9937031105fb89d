from dataclasses import dataclass

import pytest
import torch

from privassay.attacks.membership.outputs import Answers, References


@dataclass
class Toy:
    """Random answers: members have a higher logit at the true class."""

    view: Answers
    references: References
    member: torch.Tensor

    def __iter__(self):
        return iter((self.view, self.references))


def make(targets=3, references=6, records=40, classes=4, seed=0, chance=0.5, gain=2.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (records,), generator=generator)
    hard = torch.randn(records, generator=generator)
    models = targets + references
    member = torch.rand(models, records, generator=generator) < chance
    logits = torch.randn(models, records, classes, generator=generator, dtype=torch.float64)
    own = (gain * member + hard).double()
    logits.scatter_add_(2, labels.expand(models, -1).unsqueeze(2), own.unsqueeze(2))
    allowed = (torch.arange(targets).unsqueeze(1) + 2 * torch.arange(references)) % 5 != 0
    allowed[:, 0] = True  # every target has a forbidden reference, if there are enough
    return Toy(
        Answers(logits=logits[:targets], labels=labels),
        References(
            answers=Answers(logits=logits[targets:], labels=labels),
            member=member[targets:],
            allowed=allowed,
        ),
        member[:targets],
    )


@pytest.fixture
def toy():
    return make
