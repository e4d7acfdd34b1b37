"""Runs: configurations, records, sweeps"""
