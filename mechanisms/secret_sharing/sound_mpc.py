"""The same clustering with minimal openings: a client learns its own distances, all learn sizes.

The assignment belongs to the client: it shares its vector in the block of its cluster and zeros in
the others, so nobody sees where it went. Each opening is masked by shares of zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from .clusterer import Clustered
from .clustering import Distances, nearest_of, public_start, survivors
from .fixed_point import checked
from .masks import Source
from .openings import Board
from .session import Session
from .setting import Setting


def fixed_schedule(
    distances: Distances, setting: Setting, *, seed: int, sizes: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """`setting.iterations` steps of k-means, small clusters dissolved before each.

    Every client decides for itself, from its own row of distances and the sizes, which are public.

    Args:
        distances: float64[N, S'] for an assignment to 0..S'-1, no cluster empty.
        setting: the public constants.
        seed: public, of the start, which looks at client numbers only.
        sizes: opens the number of members of each of S clusters.
    """
    # More clusters than this would all be too small at the start, and collapse to one for good.
    clusters = min(setting.clusters, setting.clients // setting.min_size)
    assignment = public_start(setting.clients, clusters, seed=seed)
    # Before any distance is known the ranking is public too: the next cluster in number.
    ranking = ((torch.arange(clusters) - assignment[:, None]) % clusters).to(torch.float64)
    for _ in range(setting.iterations):
        assignment, _ = _dissolved(assignment, ranking, setting, sizes)
        ranking = distances(assignment)
        assignment = ranking.argmin(dim=1)
    return _dissolved(assignment, ranking, setting, sizes)[0]


def _dissolved(
    assignment: Tensor,
    ranking: Tensor,
    setting: Setting,
    sizes: Callable[[Tensor, int], Tensor],
) -> tuple[Tensor, list[int]]:
    """The surviving clusters, renumbered; members of the others go to their next nearest."""
    clusters = ranking.shape[1]
    alive = survivors(sizes(assignment, clusters).tolist(), min_size=setting.min_size)
    stays = torch.isin(assignment, torch.tensor(alive))
    moved = torch.where(stays, assignment, nearest_of(ranking, alive))
    return torch.searchsorted(torch.tensor(alive), moved), alive


def plain_sizes(assignment: Tensor, clusters: int) -> Tensor:
    """Members of each cluster: the plaintext twin of the opened sizes."""
    return torch.bincount(assignment, minlength=clusters)


@dataclass(frozen=True, kw_only=True)
class SoundMpc:
    """One re-clustering round with minimal openings.

    Attributes:
        setting: the public constants.
        seed: public seed of the start assignment.

    Raises:
        ParameterError: clusters may be so small that colluders see one other member.
    """

    setting: Setting
    seed: int = 0

    def __post_init__(self) -> None:
        if self.setting.min_size < self.setting.least_size:
            raise ParameterError(
                f"min_size must be at least max(3, colluders + 2) = {self.setting.least_size} in "
                f"mode sound_mpc, but is {self.setting.min_size}: {self.setting.colluders} "
                "colluding members of a smaller cluster see the sum of fewer than two others.\n"
                "  Leave min_size out, raise it, or plan for fewer colluders."
            )

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
        setting, within = self.setting, self.setting.within
        session = setting.session(source, senders=senders)
        x = setting.point_codes(points)
        shares = session.share(x, round, "points")
        step = opening = 0
        found = torch.empty(0, dtype=torch.int64)

        def sizes(assignment: Tensor, clusters: int) -> Tensor:
            nonlocal opening, found
            opening += 1
            found = self._sizes(session, assignment, clusters, round, opening)
            board.open("sizes", to="all", data=found, round=round, step=step)
            return found

        def distances(assignment: Tensor) -> Tensor:
            nonlocal step
            step += 1
            clusters = int(assignment.max()) + 1
            members = sizes(assignment, clusters)
            own_block = torch.nn.functional.one_hot(assignment, clusters).to(x.device)
            blocks = own_block[..., None] * x[:, None]
            coded = session.share(blocks, round, step, "blocks")
            replies = session.squares(shares, session.total(coded, 1), members.tolist())
            zeros = session.zero_shares("sum", round, step, like=replies[0])
            slices = session.open(within.add(replies, zeros), product=True)
            squares = checked(within.sum(slices, 0), within, limit=setting.distance_limit).cpu()
            own = squares.to(torch.float64).sqrt() / members / 2.0**setting.points.bits
            board.open("distances", to="client", data=own, round=round, step=step)
            return own

        assignment = fixed_schedule(distances, setting, seed=self.seed, sizes=sizes)
        clusters = int(assignment.max()) + 1
        final = sizes(assignment, clusters)
        board.open("assignment", to="client", data=assignment, round=round, step=step)
        for name, value in (("iterations", setting.iterations), ("clusters", setting.clusters)):
            board.open(name, to="all", data=torch.tensor(value), round=round, step=step)
        return Clustered(assignment, final.to(torch.float64))

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
        codes = setting.prompt_codes(prompts)
        sums = self._own_sums(session, assignment, len(sizes), codes, round)
        own = sums.to(torch.float64) / sizes[assignment, None] / 2.0**setting.prompts.bits
        board.open("cluster_prompt", to="members", data=own, round=round, step=0)
        return own

    def _sizes(
        self, session: Session, assignment: Tensor, clusters: int, round: int, opening: int
    ) -> Tensor:
        one_hot = torch.nn.functional.one_hot(assignment, clusters)
        shared = session.share(one_hot, round, "one-hot", opening, replicate=True)
        return session.open_signed(session.total(shared, 1), limit=self.setting.clients)[0]

    def _own_sums(
        self, session: Session, assignment: Tensor, clusters: int, prompts: Tensor, round: int
    ) -> Tensor:
        """int64[N, prompt_dimension]: sum_s e_is P_s, the only sum that opens to client i."""
        within, limit = self.setting.within, self.setting.prompt_limit
        one_hot = torch.nn.functional.one_hot(assignment, clusters).to(prompts.device)
        chosen = session.share(one_hot, round, "selection", replicate=True)
        blocks = session.share(one_hot[..., None] * prompts[:, None], round, "prompts")
        sums = session.total(blocks, 1)  # [holders, clusters, width]
        rows = []
        for i in range(self.setting.clients):  # one at a time: memory
            picked = within.sum(within.mul(chosen[:, i, :, None], sums), 1)
            zeros = session.zero_shares("each", round, "prompt", i, like=picked[0])
            slices = session.open(within.add(picked, zeros), product=True)
            rows.append(
                session.joined(checked(slices, within, limit=limit), self.setting.prompt_dimension)
            )
        return torch.stack(rows).cpu()
