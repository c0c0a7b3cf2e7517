"""The fields of a configuration that weights may expect otherwise than their layout says."""

OVERRIDABLE = (
    *("model.input.mean", "model.input.std", "model.input.channel_order"),
    *("model.input.short_side", "model.input.long_side", "model.input.height", "model.input.width"),
    "model.backbone.stride_in_1x1",
    *("model.anchors.sizes", "model.anchors.rounded", "model.anchors.fitted_strides"),
    *("model.roi.sampling_ratio", "model.roi.aligned", "model.roi.box_weights"),
)
"""Their paths; the arrays of a file do not tell them."""
