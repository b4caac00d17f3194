"""How many decimals a currency counts in. Source: ISO 4217, list one (current currencies), as SIX keeps it.

Only the exceptions stand here: every other code, also one that the list does not know, has two.
"""

import re

CODE = re.compile("[A-Z]{3}", re.ASCII)
USUAL = 2
_EXCEPTIONS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_EXPONENTS = {code: exponent for exponent, codes in _EXCEPTIONS.items() for code in codes.split()}


def is_currency(code: str) -> bool:
    """Whether it has the form of a code; shops also use codes that no list has."""
    return CODE.fullmatch(code) is not None


def exponent_of(code: str) -> int:
    """Decimals of the currency's smallest unit."""
    return _EXPONENTS.get(code, USUAL)
