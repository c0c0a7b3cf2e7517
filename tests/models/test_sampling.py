import jax
import jax.numpy as jnp
import numpy as np

from amodal_jax.network import build_network
from amodal_jax.ops import boxes as box_ops
from amodal_jax.structures import AnchorScores
from tests.helpers.micro import SLOTS, image_keys, micro_batch, micro_config

LEVEL_SIZES = ((16, 24), (8, 12), (4, 6), (2, 3), (1, 2))


def test_samples_are_what_their_overlaps_make_them():
    """Of anchors and proposals of three images: one as it is, one all over which is a crowd, one to fill the batch."""
    config = micro_config()
    detector = build_network(config)
    batch = micro_batch(3)
    everywhere = jnp.array([-300.0, -300, 500, 500])  # anchors reach beyond the image
    truth = batch.truth.replace(
        boxes=batch.truth.boxes.at[1, SLOTS - 1].set(everywhere),
        crowd=jnp.zeros((3, SLOTS), bool).at[1, SLOTS - 1].set(True),
    )
    batch = batch.replace(truth=truth, valid=jnp.array([True, True, False]))
    rng = np.random.default_rng(0)
    anchors_of = detector.rpn.place_anchors(LEVEL_SIZES, (64, 96))
    logits, deltas = (
        [jnp.asarray(rng.normal(0, 0.3, (3, len(level), *shape)), jnp.float32) for level in anchors_of]
        for shape in ((), (4,))
    )

    @jax.jit
    def sample(keys):
        inputs = detector.preprocess(batch.images, batch.sizes, batch.truth)
        scores = AnchorScores(logits, deltas, anchors_of)
        proposals = detector.rpn.propose(scores, inputs.sizes, train=True)
        anchor_samples = detector.rpn.sample(scores, inputs.truth, batch.valid, keys)
        return inputs, anchor_samples, detector.boxes.sample(proposals, inputs.truth, batch.valid, keys)

    inputs, anchors, rois = sample(image_keys(3))
    truth_boxes = inputs.truth.boxes
    every_anchor = jnp.concatenate([jnp.asarray(level) for level in anchors_of])
    rpn, roi = config.model.rpn, config.model.roi
    kinds = (
        (anchors, every_anchor[anchors.indices], rpn.batch_size, rpn.positive_fraction, rpn.background_iou),
        (rois, rois.boxes, roi.batch_size, roi.positive_fraction, roi.iou_threshold),
    )
    for samples, boxes, size, fraction, background in kinds:
        assert samples.valid.shape == (3, size)
        assert not samples.valid[2].any()
        assert samples.valid[0].all()  # there is background enough
        assert not (samples.valid[1] & ~samples.positive[1]).any()  # and none in a crowd
        for image in range(2):
            count = int(samples.positive[image].sum())
            assert 0 < count <= int(size * fraction)
            assert samples.positive[image, :count].all()
            iou = np.asarray(box_ops.pairwise_iou(boxes[image], truth_boxes[image]))
            iou = np.where(truth.valid[image], iou, -1)
            np.testing.assert_array_equal(
                samples.truth_index[image, :count], iou[:count].argmax(axis=1), err_msg="matched with another instance"
            )
            negative = np.asarray(samples.valid[image] & ~samples.positive[image])
            assert (iou[negative].max(axis=1, initial=-1) < background).all()
    all_iou = np.asarray(jax.vmap(box_ops.pairwise_iou, (None, 0))(every_anchor, truth_boxes))
    for image in range(2):
        best = all_iou[image].max(axis=0)  # of each instance; an anchor under 0.7 is positive only as one of these
        sampled = all_iou[image][anchors.indices[image][anchors.positive[image]]][:, truth.valid[image]]
        assert ((sampled >= rpn.foreground_iou) | (sampled == best[truth.valid[image]])).any(axis=1).all()
        assert (sampled.max(axis=1) < rpn.foreground_iou).any(), "no anchor is the best of an instance that none fits"
        boxes = rois.boxes[image][rois.positive[image]]
        iou = np.asarray(box_ops.pairwise_iou(boxes, truth_boxes[image]))[:, truth.valid[image]]
        assert (iou.max(axis=1) >= roi.iou_threshold).all()
        assert (iou.max(axis=1) > 0.999).any(), "ground truth is not among the regions"
