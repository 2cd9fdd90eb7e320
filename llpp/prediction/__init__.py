"""Keypoints of new images by a trained model, whatever runs it."""
