"""What of a candidate is compared with what."""

from seqhead import PooledSVC, SequenceClassifier
from seqhead.head_config import BranchConfig, ZoomConfig
from seqhead.sweeps.trial import loss_name


def test_only_losses_of_one_kind_are_compared():
    zoom = ZoomConfig(features=4, branch=BranchConfig())
    different = [
        SequenceClassifier(),
        SequenceClassifier(loss="mse"),
        SequenceClassifier(loss="focal"),
        SequenceClassifier(loss="focal", focal_gamma=1.0),
        SequenceClassifier(label_weights=(2.0, 1.0)),
        SequenceClassifier(balance="loss"),
        SequenceClassifier(zoom=zoom),  # the losses of three outputs, added up
        PooledSVC(),
    ]
    assert len({loss_name(model) for model in different}) == len(different)
    for like in ({"rnn": "lstm"}, {"balance": "sampling"}, {"learning_rate": 0.1}, {"hidden": 4}):
        assert loss_name(SequenceClassifier(**like)) == loss_name(SequenceClassifier())
