"""Ghosts of DECam, ray-traced once: from a star's place in the field to outlines on the focal plane."""
