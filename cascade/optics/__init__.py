"""Ghosts of DECam, ray-traced once: from a star's field position to outlines on the focal plane."""
