"""The errors of KITTI's scene-flow benchmark of 2015, which the paper's Table 8 reports."""
