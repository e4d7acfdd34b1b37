"""Models: the network and how labels enter it"""
