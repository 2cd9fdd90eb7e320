"""Crops on the disk: decoded and cut once, read by every rank, epoch and job that wants the same.

A cache is a folder with a name that follows from what is in it: the images (name, size, time of change), the boxes
and the crop's settings. Whoever wants it first cuts it, and others wait; what a killed process has cut is kept.
"""
