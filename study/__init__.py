"""What a run is, how it is planned, trained and stored. Imports nothing, so that commands start at
once.
"""
