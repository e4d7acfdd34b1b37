"""Page: figures and tables as a page shows them"""
