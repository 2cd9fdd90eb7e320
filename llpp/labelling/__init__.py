"""What a project asks people for, and what becomes of their answers."""
