"""Papers: claims, quantities and figures of each"""
