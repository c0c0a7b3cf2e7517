"""KITTI's 3D boxes to pseudo labels in KINS' form."""
