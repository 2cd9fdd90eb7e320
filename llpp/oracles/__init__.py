"""Oracle plug-ins: where labels come from; one file here and one YAML in conf/."""
