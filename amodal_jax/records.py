"""The shape of masks kept in the frame of their object's amodal box; see `amodal_jax.masks.crops`."""

CROP_SIZE = 112  # cells along each side
PACKED_CROP_SHAPE = (CROP_SIZE, CROP_SIZE // 8)  # eight cells a byte along x
