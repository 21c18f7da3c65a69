"""Pure functions on tensors: boxes, deltas, anchors, matching, sampling, NMS, region pooling, losses.

Nothing here keeps state or knows a model. Import from the file that is named after the idea.
"""
