"""SecFPP as described: the server opens every distance and announces the assignment.

Reproduced with its leaks, which `exposure.py` exploits. No code of the authors is known; this is
the Lagrange-coded form of the description (arXiv:2505.22447).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .clustering import AdaptiveRule, adaptive, nearest_of, renumbered, survivors
from .fixed_point import checked
from .masks import Source
from .openings import Board
from .setting import Setting


class Clustered(NamedTuple):
    """What the clients hold after one round.

    Attributes:
        assignment: int64[N], each client's cluster, 0..S-1.
        prompts: float64[N, prompt_dimension], each client's cluster prompt.
        sizes: members of each cluster.
    """

    assignment: Tensor
    prompts: Tensor
    sizes: list[int]


@dataclass(frozen=True, kw_only=True)
class AsDescribed:
    """One re-clustering round of the described protocol.

    Attributes:
        setting: the public constants; its `iterations` and `clusters` give way to the rule's.
        rule: when clusters split and merge.
        zero_sharing: mask the opened polynomials, so that only the sum over slices shows (S13).
        dissolve: dissolve clusters below the setting's min_size before prompts are opened (S3, S4).
    """

    setting: Setting
    rule: AdaptiveRule
    zero_sharing: bool = False
    dissolve: bool = False

    def run(
        self,
        points: Tensor,
        prompts: Tensor,
        *,
        source: Source,
        board: Board,
        round: int = 1,
        senders: Sequence[int] | None = None,
    ) -> Clustered:
        """Cluster the reduced prompts, average the prompts inside clusters.

        Args:
            points: float[N, d'], clipped to the public bound.
            prompts: float[N, prompt_dimension], likewise.
            source: of the masks.
            board: records what is opened.
            round: number of the round, public.
            senders: clients whose replies arrive; default all.
        """
        setting = self.setting
        board.begin(round)
        session = setting.session(source, senders=senders)
        x, p = setting.inputs(points, prompts)
        shares = session.share(x, round, "points")
        step = 0

        def opened(value: str, data: Tensor) -> None:
            to = "server" if value.endswith("distances") else "all"
            board.open(value, to=to, data=data, round=round, step=step)  # type: ignore[arg-type]

        def distances(assignment: Tensor) -> Tensor:
            nonlocal step
            step += 1
            sizes = torch.bincount(assignment)
            opened("assignment", assignment)
            opened("sizes", sizes)
            sums = torch.stack(
                [session.total(shares[:, assignment == s], 1) for s in range(len(sizes))], dim=1
            )
            replies = session.squares(shares, sums, sizes.tolist())
            if self.zero_sharing:
                zeros = session.zero_shares("sum", round, step, like=replies[0])
                replies = setting.within.add(replies, zeros)
            slices = session.open(replies, product=True)
            limit = setting.distance_limit
            if not self.zero_sharing:
                opened("slice_distances", checked(slices, setting.within, limit=limit))
            squares = checked(setting.within.sum(slices, 0), setting.within, limit=limit).cpu()
            found = squares.to(torch.float64).sqrt() / sizes / 2.0**setting.points.bits
            opened("distances", found)
            return found

        assignment = adaptive(distances, self.rule, setting.clients)
        if self.dissolve:
            sizes = torch.bincount(assignment).tolist()
            alive = survivors(sizes, min_size=setting.min_size)
            moved = nearest_of(distances(assignment), alive)
            stays = torch.isin(assignment, torch.tensor(alive))
            assignment = renumbered(torch.where(stays, assignment, moved))
        opened("iterations", torch.tensor(step))
        opened("clusters", assignment.max() + 1)
        opened("assignment", assignment)
        sizes = torch.bincount(assignment).tolist()
        opened("sizes", torch.tensor(sizes))
        shared = session.share(p, round, "prompts")
        means = []
        for s, size in enumerate(sizes):
            slices = session.open_signed(
                session.total(shared[:, assignment == s], 1), limit=setting.prompt_limit
            )
            joined = session.joined(slices, setting.prompt_dimension).cpu().to(torch.float64)
            means.append(joined / size / 2.0**setting.prompts.bits)
        clusters = torch.stack(means)
        for reader in ("members", "server"):
            board.open("cluster_prompt", to=reader, data=clusters, round=round, step=step)
        return Clustered(assignment, clusters[assignment], sizes)
