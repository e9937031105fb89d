"""What the three modes have in common: cluster at some rounds, average inside clusters at all."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from .masks import Source
from .openings import Board


class Clustered(NamedTuple):
    """What the clients keep from a clustering.

    Attributes:
        assignment: int64[N], each client's cluster, 0..S-1. Announced in mode as_described;
            otherwise each client knows its own only.
        sizes: float64[S], members of each cluster; noisy in mode sound_dp.
    """

    assignment: Tensor
    sizes: Tensor


class Clusterer(Protocol):
    """One mode of SecFPP. Every opened value goes through `board`."""

    def cluster(
        self,
        points: Tensor,
        *,
        source: Source,
        board: Board,
        round: int,
        senders: Sequence[int] | None = None,
    ) -> Clustered:
        """Cluster the reduced prompts.

        Args:
            points: float[N, d']; coordinates beyond the public bound are clipped to it, and a row
                that is not finite counts as zero.
            source: of masks and noise; a round draws from it under its own number.
            board: records what is opened.
            round: public number of the round, used once.
            senders: clients whose replies arrive; default all.
        """

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
        """float64[N, prompt_dimension]: each client's cluster prompt, an average.

        Args:
            prompts: float[N, prompt_dimension], clipped likewise.
            clustered: of this or an earlier round.
            source: as in `cluster`; so are the others.
            board: likewise.
            round: likewise.
            senders: likewise.
        """
