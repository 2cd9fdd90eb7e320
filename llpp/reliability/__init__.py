"""Whether a prediction can be trusted: what the predicted loss says about failures, with a promise that holds."""
