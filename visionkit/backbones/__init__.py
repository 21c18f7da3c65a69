"""Networks of the line, each a trunk and a tail; one file per family, one builder per network."""
