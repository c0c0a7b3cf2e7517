"""COCO-Amodal (COCOA), written as KINS json."""
