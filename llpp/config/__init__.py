"""Configuration → objects: the only code that knows both."""
