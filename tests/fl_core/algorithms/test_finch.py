import math

import pytest
import torch

from privassay.fl_core.algorithms import finch


def naive(rows):
    """The definition: link i to its first neighbour; components; again on their means."""
    rows = [[float(v) for v in row] for row in rows]
    clusters = [[i] for i in range(len(rows))]
    found = []
    while len(clusters) > 1:
        means = [
            [sum(rows[i][d] for i in members) / len(members) for d in range(len(rows[0]))]
            for members in clusters
        ]
        first = []
        for i, a in enumerate(means):
            others = [j for j in range(len(means)) if j != i]
            first.append(max(others, key=lambda j, a=a: (round(cosine(a, means[j]), 11), -j)))
        links = {i: {i} for i in range(len(means))}
        for i in range(len(means)):
            for j in range(len(means)):
                if i != j and (first[i] == j or first[j] == i or first[i] == first[j]):
                    links[i].add(j)
        parts, seen = [], set()
        for i in range(len(means)):
            if i in seen:
                continue
            part, todo = set(), [i]
            while todo:
                k = todo.pop()
                if k not in part:
                    part.add(k)
                    todo += links[k]
            seen |= part
            parts.append(sorted(m for k in part for m in clusters[k]))
        if found and len(parts) == 1:
            break
        clusters = sorted(parts)
        found.append(clusters)
    return found


def cosine(a, b):
    length = math.sqrt(sum(v * v for v in a) * sum(v * v for v in b))
    return sum(v * w for v, w in zip(a, b, strict=True)) / length if length else 0.0


def as_sets(label):
    return sorted(
        [i for i, other in enumerate(label.tolist()) if other == name]
        for name in sorted(set(label.tolist()))
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("n", "dim"), [(2, 3), (5, 2), (9, 4), (40, 3), (17, 30)])
def test_partitions_equal_the_definition(seed, n, dim):
    rows = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)).double()
    found = [as_sets(label) for label in finch.partitions(rows)]
    assert found == naive(rows)
    assert as_sets(finch.coarsest(rows)) == found[-1]


def test_by_hand():
    angle = torch.tensor([0.0, 5.0, 40.0, 44.0, 180.0, 185.0]).deg2rad().double()
    rows = torch.stack([angle.cos(), angle.sin()], dim=1) * torch.tensor(
        [[1.0], [7.0], [2.0], [0.1], [3.0], [1.0]]
    )
    # Pairs first; then 2.5 and 42 are nearest to each other, and 182 to one of them: one cluster
    # would be left, so the pairs are the coarsest partition.
    assert [as_sets(label) for label in finch.partitions(rows)] == [[[0, 1], [2, 3], [4, 5]]]
    chain = torch.tensor([0.0, 10.0, 19.0, 27.0, 34.0]).deg2rad().double()
    rows = torch.stack([chain.cos(), chain.sin()], dim=1)
    assert [as_sets(label) for label in finch.partitions(rows)] == [[[0, 1, 2, 3, 4]]]


def test_several_levels_are_found():
    levels = [len(naive(torch.randn(60, 3, generator=torch.Generator().manual_seed(s))))
              for s in range(5)]  # fmt: skip
    assert max(levels) >= 2, levels


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_link(n):
    assert finch.coarsest(torch.zeros(n, 3)).tolist() == list(range(n))
    assert finch.coarsest(torch.zeros(4, n, 3)).shape == (4, n)


def test_zeros_and_equal_rows_give_no_nan_and_ties_go_to_the_first():
    assert as_sets(finch.coarsest(torch.zeros(5, 3))) == naive(torch.zeros(5, 3))[-1]
    rows = torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [0.0, 0.0], [-1.0, 1.0]])
    assert as_sets(finch.coarsest(rows)) == naive(rows)[-1]


def test_many_problems_at_once_equal_each_alone_and_absent_rows_change_nothing():
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(6, 4, 13, 5, generator=generator)
    valid = torch.rand(6, 4, 13, generator=generator) < 0.7
    valid[0, 0] = False
    valid[0, 1] = False
    valid[0, 1, 7] = True
    rows[~valid] = 1e6
    together = finch.coarsest(rows, valid)
    means, sizes = finch.centres(rows, together, valid)
    for i in range(6):
        for j in range(4):
            there = valid[i, j].nonzero()[:, 0]
            alone = finch.coarsest(rows[i, j, there])
            assert torch.equal(there[alone], together[i, j, there])
            for name in alone.unique().tolist():
                members = rows[i, j, there[alone == name]]
                at = int(there[name])
                assert int(sizes[i, j, at]) == len(members)
                torch.testing.assert_close(means[i, j, at], members.mean(dim=0))
            assert int(sizes[i, j].sum()) == len(there)


def test_largest_clusters_come_first_and_say_where_they_went():
    means = torch.arange(5.0).view(5, 1)
    found, place = finch.largest(finch.Clusters(means, torch.tensor([1, 0, 4, 1, 9])), 3)
    assert found.sizes.tolist() == [9, 4, 1] and found.means[:, 0].tolist() == [4, 2, 0]
    assert place[[4, 2, 0]].tolist() == [0, 1, 2] and int(place[3]) == 3
    wide, _ = finch.largest(finch.Clusters(means, torch.tensor([1, 0, 4, 1, 9])), 7)
    assert wide.sizes.tolist() == [9, 4, 1, 1, 0, 0, 0] and wide.means.shape == (7, 1)
