"""The book: its chapters' parameters, runs and site"""
