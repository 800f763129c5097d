"""Clips of video: manifests, readers, order, batches, and the embedded world.

Imports nothing, so that a process which only renders or decodes starts without torch's and Lightning's weight.
"""
