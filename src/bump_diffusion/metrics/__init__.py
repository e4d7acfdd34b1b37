"""Metrics: what is measured of a trained network"""
