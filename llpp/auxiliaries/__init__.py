"""Auxiliary plug-ins: one file here and one YAML in conf/."""
