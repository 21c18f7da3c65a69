"""Heads: small modules that turn maps or region vectors into scores, boxes and losses."""
