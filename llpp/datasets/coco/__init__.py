"""COCO keypoints."""
