"""Tables, figures and one page of the objectives' mathematics, and of a run's own losses."""
