"""Several processes that train and score as one."""
