"""D2S Amodal, groceries on a turntable in 60 classes (Follmann et al., 2018): images of 1440 x 1920.

Source: `configs/Base-RCNN-FPN-D2SA.yaml` of UARK-AICV/AISFormer: 70 000 steps of two of the training images and of
those that were made of them, 18 epochs; the learning rate falls at 40 000 and 60 000. Images there have short sides of
640 to 800 in training; here they have the 800 of the evaluation.
"""

from configs.presets import Preset

PRESET = Preset(
    canvas=(1440, 1920),
    short_side=800,
    long_side=1333,
    input_canvas=(800, 1088),
    epochs=18,
    learning_rate=5e-3,
    decays=(4 / 7, 6 / 7),
)
