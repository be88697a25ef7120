"""What metrics are made with, and what the engine hands them: tables of codes, the protocol, draws
of points, discrete information, what makes scores mislead. No torch in here.
"""
