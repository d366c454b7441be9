"""DrCT2: two branches and their fusion."""

import numpy as np
import pytest
import torch

from seqhead.batches import collate
from seqhead.head_config import HeadConfig
from seqhead.heads import highest, make_head

D, ZOOMED = 6, 6


def drct2(choose="attention", slices=4):
    torch.manual_seed(0)
    branch = {"hidden": 3, "bidirectional": True, "step_dense": 5, "mlp": (4,)}
    zoom = {
        "features": ZOOMED, "slices": slices, "choose": choose, "mlp": (4,),
        "branch": {**branch, "normalise": "batch", "input_dense": 7, "pool": "mean"},
    }  # fmt: skip
    options = {**branch, "normalise": "none", "feature_attention": True, "pool": "attention"}
    return make_head(HeadConfig(features=D, labels=2, zoom=zoom, **options)).eval()


def batch_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(n, D + ZOOMED)).astype(np.float32) for n in lengths]
    return collate(X, None, np.arange(len(X)))


def test_the_selected_slices_are_those_of_the_highest_attention():
    head, batch = drct2(), batch_of([9, 2, 4, 7])
    places, chosen = head.key_slices(batch.x, batch.mask)
    weights = head.attention(batch.x, batch.mask).detach().numpy()
    for row, n in enumerate([9, 2, 4, 7]):
        best = np.argsort(-weights[row, :n], kind="stable")[:4]
        assert places[row][chosen[row]].tolist() == sorted(best.tolist())


def test_equal_slices_are_chosen_from_the_first():
    places, chosen = highest(torch.zeros(2, 6), torch.arange(6) < torch.tensor([[6], [2]]), 3)
    assert places[0].tolist() == [0, 1, 2]
    assert chosen.tolist() == [[True, True, True], [True, True, False]]


def test_the_gather_equals_recomputing_the_zoomed_slices():
    """What is cached for every slice and gathered is what a backbone makes of the key slices."""
    from featurecache.backbones import load_backbone

    torch.manual_seed(1)
    network = load_backbone("squeezenet1_1", "random:0", size=32).module
    enlarge = torch.nn.Upsample(size=(64, 64), mode="bilinear", align_corners=False)
    images = torch.rand(7, 3, 32, 32)
    with torch.inference_mode():
        overview, close_up = network(images)[:, :D], network(enlarge(images))[:, :ZOOMED]
    overview, close_up = overview.clone(), close_up.clone()
    head = drct2()
    mask = torch.ones(1, 7, dtype=torch.bool)
    x = torch.cat([overview, close_up], dim=1).unsqueeze(0)
    with torch.no_grad():
        primary, zoomed, fused = head.outputs(x, mask)
        states = head.primary.states(overview.unsqueeze(0), mask)
        attention = head.primary.pool.weights(states, mask)[0]
        key = sorted(attention.argsort(descending=True)[:4].tolist())
        recomputed = network(enlarge(images[key]))[:, :ZOOMED].unsqueeze(0)
        four = torch.ones(1, 4, dtype=torch.bool)
        vector = head.zoom.encode(recomputed, four)
        torch.testing.assert_close(zoomed, head.zoom.mlp(vector), atol=1e-5, rtol=0)
        pooled = head.primary.pool(states, mask)
        torch.testing.assert_close(primary, head.primary.mlp(pooled))
        torch.testing.assert_close(fused, head.fusion(pooled + vector), atol=1e-5, rtol=0)


def test_the_fusions_gradient_reaches_both_branches():
    head, batch = drct2().train(), batch_of([9, 5])
    head(batch.x, batch.mask).sum().backward()
    for branch in (head.primary, head.zoom):
        for name, parameter in branch.named_parameters():
            if name.startswith("mlp"):  # each branch's own outputs are beside the fusion
                assert parameter.grad is None
            else:
                assert parameter.grad.abs().sum() > 0, name


def test_what_is_not_chosen_does_not_count():
    head, batch = drct2(), batch_of([9])
    places, _ = head.key_slices(batch.x, batch.mask)
    others = sorted(set(range(9)) - set(places[0].tolist()))
    changed = batch.x.clone()
    changed[0, others, D:] = 99.0
    with torch.no_grad():
        torch.testing.assert_close(head(changed, batch.mask), head(batch.x, batch.mask))
        changed[0, places[0, 0], D:] = 99.0
        assert (head(changed, batch.mask) != head(batch.x, batch.mask)).any()


@pytest.mark.parametrize("slices", [1, 4, 28])
def test_random_slices_change_in_training_and_not_afterwards(slices):
    head, batch = drct2("random", slices), batch_of([30, 12])
    one, chosen = head.key_slices(batch.x, batch.mask)
    assert (one == head.key_slices(batch.x, batch.mask)[0]).all()
    assert chosen.sum(dim=1).tolist() == [slices, min(slices, 12)]
    head.train()
    drawn = {tuple(head.key_slices(batch.x, batch.mask)[0][0].tolist()) for _ in range(20)}
    assert len(drawn) > 1


def heads_of_two_sets():
    """Heads that read a second feature set, each in its way."""
    plain = {"hidden": 3, "pool": "mean", "normalise": "none", "features": D, "labels": 2}
    torch.manual_seed(0)
    config = drct2().config
    return {
        "attention": drct2(),
        "random": drct2("random"),
        "replace": make_head(HeadConfig(**plain, replace=(2, 4))).eval(),
        "separate": make_head(config.model_copy(update={"separate": True})).eval(),
    }


@pytest.mark.parametrize("kind", ["attention", "random", "replace", "separate"])
def test_slices_whose_second_features_are_not_read_have_no_influence(kind):
    head, lengths = heads_of_two_sets()[kind], [9, 2, 4, 7]
    batch = batch_of(lengths)
    rows = head.second_rows(batch.x, batch.mask)
    assert not (rows & ~batch.mask).any()
    assert 0 < int(rows.sum()) < sum(lengths)
    without = batch.x.clone()
    without[..., D:] *= rows.unsqueeze(-1)
    assert (head.second_rows(without, batch.mask) == rows).all()
    with torch.no_grad():
        known = head(batch.x, batch.mask)
        assert (head(without, batch.mask) == known).all()
        for series, place in rows.nonzero().tolist():
            changed = without.clone()
            changed[series, place, D:] += 5.0
            assert (head(changed, batch.mask)[series] != known[series]).any()


def test_a_head_of_one_set_reads_no_second_one():
    head = make_head(HeadConfig(features=D, labels=1, hidden=3)).eval()
    assert not head.second_rows(torch.rand(2, 5, D), torch.ones(2, 5, dtype=torch.bool)).any()


def test_an_estimator_names_rows_of_the_series_as_they_are_not_as_they_are_sampled():
    from seqhead.classifier import SequenceClassifier
    from seqhead.train_config import TrainConfig

    config = drct2().config.model_copy(update={"sample_to": 6})
    torch.manual_seed(0)
    state = make_head(config).state_dict()
    model = SequenceClassifier.from_state(config, TrainConfig(), state, device="cpu")
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, D + ZOOMED)).astype(np.float32) for n in (20, 3, 6)]
    rows = model.second_rows(X)
    assert [len(row) for row in rows] == [20, 3, 6]
    assert [int(row.sum()) for row in rows] == [4, 3, 4]
    pairs = zip(X, rows, strict=True)
    without = [np.where(np.arange(12) < D, x, x * row[:, None]) for x, row in pairs]
    np.testing.assert_array_equal(model.predict_proba(without), model.predict_proba(X))
