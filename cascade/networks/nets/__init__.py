"""
The networks, in Keras 3 and `keras.ops` only, so that they run on TensorFlow, JAX and PyTorch.

Every module holds one part; `mask_rcnn` and `classifier` only wire parts together. Shapes are static: lists of boxes
are padded, with a boolean mask `valid`. Boxes are (y0, x0, y1, x1) in pixels.
"""
