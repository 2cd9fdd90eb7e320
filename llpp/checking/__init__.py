"""Labels that look wrong, by networks that did not train on them: `llpp check`."""
