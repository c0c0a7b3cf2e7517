"""Images to the feature maps of several strides."""
