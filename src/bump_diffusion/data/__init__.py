"""Data: what is drawn"""
