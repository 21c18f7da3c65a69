"""Models: backbones and heads joined. `build.py` holds all the wiring."""
