"""Who is trained on what: designs for shadow models, and checks that nothing else gives it away.

Members and non-members must differ by the coin alone. If they come from other classes, other times
or another source, an attack that has seen nothing tells them apart, and its score says nothing
about the model.
"""

import hashlib
import math

import numpy as np
import torch
from scipy.special import rel_entr
from torch import Tensor

from ..accountant import check
from ..accountant.errors import DesignError
from ..fl_core.data.membership import MembershipDesign
from ..fl_core.data.partition import Indices, Partition
from ..fl_core.data.streams import stream

_RISK = 1e-6  # of refusing a design in which all is well


def everyone(labels: Indices) -> Partition:
    """All records of the pool in one place."""
    return Partition(
        records=np.arange(len(labels), dtype=np.int64),
        sizes=np.array([len(labels)], dtype=np.int64),
        labels=np.asarray(labels, dtype=np.int64),
        recipe="all records in one place",
    )


def equal_coins(
    labels: Indices, *, models: int, seed: int, records: int | None = None
) -> MembershipDesign:
    """Each model has a uniform draw of the records, of a size that is the same for all.

    The draws of different models are independent, so the records of one model say nothing about
    another's. Within a model they are no independent coins, and their share need not be 1/2: this
    is for shadows, not for an estimator that asks for fair coins in one run.

    Args:
        labels: int64[pool].
        models: >= 1.
        seed: >= 0.
        records: of each model; if not given, fair coins decide, and what a model has more than the
            one with the fewest is left out at random.

    Raises:
        DesignError: the pool is too small.
    """
    check.count(models=models)
    rng = stream("shadow coins", seed)
    heads = rng.integers(0, 2, (models, len(labels))).astype(bool)
    size = int(heads.sum(axis=1).min()) if records is None else records
    if not 1 <= size <= len(labels):
        raise DesignError(f"{models} models cannot have {size} of {len(labels)} records each")
    turn = rng.random(heads.shape) + (0.0 if records is not None else ~heads)
    member = turn.argsort(axis=1).argsort(axis=1) < size
    whole = everyone(labels)
    return MembershipDesign(
        kind="draws",
        base=Partition(
            records=whole.records[:0],
            sizes=np.zeros(1, dtype=np.int64),
            labels=whole.labels,
            recipe="no record for certain",
        ),
        candidates=whole.records,
        holders=np.zeros(len(labels), dtype=np.int64),
        member=member,
        targets=np.zeros(0, dtype=np.int64),
        recipe=f"{size} of {len(labels)} records for each of {models} models, seed {seed}",
    )


def require_same_law(member: Tensor, x: Tensor, y: Tensor) -> None:
    """Raise unless members and non-members can be told apart by the coin alone.

    Args:
        member: bool[models, candidates].
        x: [candidates, ...]; records that are in every training do not belong here.
        y: int64[candidates].

    Raises:
        DesignError: members are of another class mix than non-members (`require_same_mix`); or one
            record occurs twice, so that its copy may be a member where it is none.
    """
    if len(x) != len(y):
        raise DesignError(f"there are {len(x)} records in x, but {len(y)} labels")
    first: dict[bytes, int] = {}
    for number, row in enumerate(x.detach().cpu()):
        # -0.0 + 0.0 is 0.0: the two zeros are equal, but not their bytes.
        flat = (row + 0.0 if row.is_floating_point() else row).contiguous().reshape(-1)
        content = flat.view(torch.uint8).numpy()
        seen = first.setdefault(hashlib.blake2b(content, digest_size=16).digest(), number)
        if seen != number:
            raise DesignError(
                f"records {seen} and {number} are the same: one may be a member while the other "
                "is not. Leave copies out of the pool."
            )
    require_same_mix(member, y)


def require_same_mix(member: Tensor, y: Tensor) -> None:
    """Raise unless the classes of members and non-members are those of a blind draw.

    In a draw without regard to the class, a class of n records has at least n q of them among the
    members with probability at most exp(-n KL(q, p)), p the share of members (Hoeffding, 1963,
    sections 2 and 6). That is asked of each class in each model, and in all models together.

    Args:
        member: bool[models, candidates].
        y: int64[candidates].

    Raises:
        DesignError: members are of another class mix than non-members, at level 1e-6; or the
            shapes or types are others.
    """
    if member.ndim != 2 or member.shape[1:] != y.shape or not member.numel():
        raise DesignError(
            "member must be bool[models, candidates] and y int64[candidates], at least one of "
            f"each, but their shapes are {list(member.shape)} and {list(y.shape)}"
        )
    if y.dtype != torch.int64 or int(y.min()) < 0:
        raise DesignError(f"y must be classes, int64 >= 0, but is {y.dtype} from {y.min().item()}")
    classes = torch.nn.functional.one_hot(y.cpu()).double().numpy()
    inside = member.cpu().double().numpy() @ classes  # [models, classes]
    total = classes.sum(axis=0)
    share = inside.sum(axis=1, keepdims=True) / len(y)
    # The last row is about all models: a sum of draws is below a binomial of the mean share.
    inside = np.vstack([inside, inside.sum(axis=0)])
    total = np.vstack([np.broadcast_to(total, (len(share), len(total))), len(share) * total])
    share = np.vstack([share, share.mean(axis=0)])
    found = inside / np.maximum(total, 1.0)
    away = total * (rel_entr(found, share) + rel_entr(1.0 - found, 1.0 - share))
    worst = int(away.max(axis=1).argmax())
    if float(away[worst].max()) > math.log(2.0 * away.size / _RISK):
        where = f"of model {worst}" if worst < len(away) - 1 else "of all models together"
        raise DesignError(
            f"the members {where} are of another class mix than the non-members: "
            f"{inside[worst].astype(int).tolist()} of the {total[worst].astype(int).tolist()} "
            "records of each class.\n  Draw members and non-members from one pool by coin."
        )
