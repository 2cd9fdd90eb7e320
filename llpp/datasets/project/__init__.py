"""A folder of images and films whose labels people give bit by bit."""
