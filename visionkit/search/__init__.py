"""Architecture search: a space of cells, a controller that learns to sample good ones, and the loop around them."""
