"""What tests/golden/detectors/detectron2.npz is made from, beside what tests/seeded_detector.py has for all."""

CLASSES = 7  # without the background
PROPOSALS = 300
SAMPLING_RATIO = 2  # ours; detectron2's own weights were trained with 0, which adapts to the region
MASKS = 8  # of the detections that are kept

SCALES = {"backbone.bottom_up.stem.conv1": 1 / 57}
"""The first convolution's, which in detectron2 sees pixels from -124 to 152."""
OUTPUTS = {
    "proposal_generator.rpn_head.objectness_logits": 2.0,
    "proposal_generator.rpn_head.anchor_deltas": 0.3,
    "roi_heads.box_predictor.cls_score": 2.0,
    "roi_heads.box_predictor.bbox_pred": 1.0,
    "roi_heads.mask_head.predictor": 3.0,
}
"""As in tests/seeded_detector.py."""
