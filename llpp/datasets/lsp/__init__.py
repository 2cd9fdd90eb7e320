"""Leeds Sports Pose and its extended set."""
