"""SecFPP as described: the server opens every distance and announces the assignment.

Reproduced with its leaks, which `exposure.py` exploits. No code of the authors is known; this is
the Lagrange-coded form of the description (arXiv:2505.22447).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .clusterer import Clustered
from .clustering import AdaptiveRule, adaptive, nearest_of, renumbered, survivors
from .fixed_point import checked
from .masks import Source
from .openings import Board, Reader
from .setting import Setting


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

    def cluster(
        self,
        points: Tensor,
        *,
        source: Source,
        board: Board,
        round: int,
        senders: Sequence[int] | None = None,
    ) -> Clustered:
        """Cluster the reduced prompts; see `Clusterer`."""
        setting = self.setting
        session = setting.session(source, senders=senders)
        shares = session.share(setting.point_codes(points), round, "points")
        step = 0

        def opened(value: str, data: Tensor) -> None:
            to: Reader = "server" if value.endswith("distances") else "all"
            board.open(value, to=to, data=data, round=round, step=step)

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
                opened("slice_distances", checked(slices, setting.within, limit=limit).cpu())
            squares = checked(setting.within.sum(slices, 0), setting.within, limit=limit).cpu()
            found = squares.to(torch.float64).sqrt() / sizes / 2.0**setting.points.bits
            opened("distances", found)
            return found

        assignment = adaptive(distances, self.rule, setting.clients)
        if self.dissolve:
            alive = survivors(torch.bincount(assignment).tolist(), min_size=setting.min_size)
            moved = nearest_of(distances(assignment), alive)
            stays = torch.isin(assignment, torch.tensor(alive))
            assignment = renumbered(torch.where(stays, assignment, moved))
        opened("iterations", torch.tensor(step))
        opened("clusters", assignment.max() + 1)
        opened("assignment", assignment)
        sizes = torch.bincount(assignment)
        opened("sizes", sizes)
        return Clustered(assignment, sizes.to(torch.float64))

    def aggregate(
        self,
        prompts: Tensor,
        clustered: Clustered,
        *,
        source: Source,
        board: Board,
        round: int,
        senders: Sequence[int] | None = None,
    ) -> Tensor:
        """Average the prompts inside clusters; see `Clusterer`."""
        setting, (assignment, sizes) = self.setting, clustered
        session = setting.session(source, senders=senders)
        shared = session.share(setting.prompt_codes(prompts), round, "prompts")
        means = []
        for s, size in enumerate(sizes.tolist()):
            slices = session.open_signed(
                session.total(shared[:, assignment == s], 1), limit=setting.prompt_limit
            )
            joined = session.joined(slices, setting.prompt_dimension).cpu().to(torch.float64)
            means.append(joined / size / 2.0**setting.prompts.bits)
        clusters = torch.stack(means)
        readers: tuple[Reader, ...] = ("members", "server")
        for reader in readers:
            board.open("cluster_prompt", to=reader, data=clusters, round=round, step=0)
        return clusters[assignment]
