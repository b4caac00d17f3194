"""How far a rule may go. All of them are checked: what somebody types is run for every record of every sync."""

MAX_LENGTH = 2_000  # of an expression, in characters
MAX_NODES = 300  # of an expression: its names, values, operators and calls
MAX_DEPTH = 50  # of nesting; every level costs a few frames of Python's stack
MAX_STEPS = 200_000  # of one evaluation: each item of a list costs as many as what is done with it has parts
MAX_TEXT = 100_000  # of a text that is made on the way
DIGITS = 60  # that a number may have: one with more is refused, and none is rounded
MAX_PLACES = 20  # that one may ask a number to be rounded to
MAX_RULES = 200
MAX_LOOKUP = 2_000  # entries of a rule's lookup table
MAX_KEY = 200
MAX_VALUE = 4_000
