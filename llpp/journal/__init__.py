"""What people have answered about a project's images: a file that only grows, and what follows from it."""
