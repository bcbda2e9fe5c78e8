"""Batches and shares: every row once, no more edges than allowed, ranks equally loaded."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from gnn.recipe import Recipe
from gnn.sampling import epoch_order, global_batches, share_of, steps_of

edge_counts = st.lists(st.integers(1, 400), min_size=1, max_size=60).map(torch.tensor)


@given(edge_counts, st.integers(1, 20), st.integers(1, 500), st.integers(0, 3))
def test_batches_have_every_row_once_and_no_more_edges_than_allowed(edges, size, most, epoch):
    order = epoch_order(torch.arange(len(edges)), 7, epoch)
    batches = list(global_batches(order, edges, size, most))
    assert torch.equal(torch.cat(batches), order)
    assert all(len(batch) <= size for batch in batches)
    assert all(len(batch) == 1 or int(edges[batch].sum()) <= most for batch in batches)
    for batch, following in itertools.pairwise(batches):
        assert len(batch) == size or int(edges[batch].sum()) + int(edges[following[0]]) > most


@given(edge_counts, st.integers(1, 20), st.none() | st.integers(1, 500))
def test_the_schedule_knows_the_number_of_steps(edges, size, most):
    config = Recipe(epochs=3, batch_size=size, batch_edges=most, seed=5)
    rows = torch.arange(len(edges))
    orders = [epoch_order(rows, config.seed, epoch) for epoch in range(3)]
    found = sum(len(list(global_batches(order, edges, size, most))) for order in orders)
    assert steps_of(config, rows, edges) == found


@given(edge_counts, st.integers(1, 5))
def test_ranks_share_a_batch_and_none_has_much_more_than_another(edges, ranks):
    batch = torch.randperm(len(edges), generator=torch.Generator().manual_seed(0))
    shares = [share_of(batch, edges, rank, ranks) for rank in range(ranks)]
    assert sorted(torch.cat(shares).tolist()) == sorted(batch.tolist())
    load = [int(edges[share].sum()) for share in shares]
    assert max(load) - min(load) <= int(edges.max())
