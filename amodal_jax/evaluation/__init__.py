"""From detections and ground truth to figures and result files."""
