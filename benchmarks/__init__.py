"""Masivo against its peers and against hand-written limits, in one run, as ratios.

``make bench`` runs everything; the README beside this file says what is measured, and how.
"""
