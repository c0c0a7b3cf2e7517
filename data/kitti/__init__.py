"""KITTI's own labels."""
