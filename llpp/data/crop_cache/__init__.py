"""Crops on disk: decoded and cut once, then read by every rank, epoch and job that needs the same ones.

A cache is a folder whose name follows from its content: the images (name, size, modification time), the boxes and the
crop settings. The first process that needs it builds it while others wait; what a killed process has cut stays valid.
"""
