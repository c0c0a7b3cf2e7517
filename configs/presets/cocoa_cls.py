"""COCOA-cls, COCO-Amodal's objects of COCO's 80 classes (Follmann et al., 2018): images of COCO, up to 640 x 640.

Source: `configs/Base-RCNN-FPN-COCOA_cls.yaml` of UARK-AICV/AISFormer and of VRSP, from which it comes: 10 000 steps of
two of the 2476 images, which are 8 epochs; the learning rate falls at 5000 and 8000. Images there have short sides of
640 to 800 in training; here they have the 800 of the evaluation.
"""

from configs.presets import Preset

PRESET = Preset(
    canvas=(640, 640),
    short_side=800,
    long_side=1333,
    input_canvas=(1344, 1344),  # of images upright and across
    epochs=8,
    learning_rate=5e-4,
    decays=(0.5, 0.8),
)
