"""Words of written English and their spoken forms: tables for `spoken_english`."""

from __future__ import annotations

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
SHORT_MONTHS = {month[:3]: month for month in MONTHS} | {"Sept": "September"}
SHORT_DAYS = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday", "Thur": "Thursday", "Thurs": "Thursday",
    "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip

WITH_DOT = {
    "dr": "Doctor", "mr": "Mister", "mrs": "Missus", "ms": "Miz", "prof": "Professor", "rev": "Reverend", "capt": "Captain",
    "ave": "Avenue", "rd": "Road", "blvd": "Boulevard", "apt": "apartment", "bldg": "building", "dept": "department",
    "e.g": "for example", "i.e": "that is", "etc": "et cetera", "vs": "versus", "approx": "approximately", "incl": "including",
    "inc": "Incorporated", "ltd": "Limited", "jr": "Junior", "sr": "Senior", "ext": "extension", "tel": "telephone", "est": "established",
    "max": "maximum", "p.s": "P S",
}  # fmt: skip
"""The spoken form of an abbreviation with a dot, in lower case."""

UNITS = {
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "mi": "mile", "ft": "foot", "kg": "kilogram", "g": "gram",
    "mg": "milligram", "lb": "pound", "lbs": "pound", "oz": "ounce", "l": "liter", "ml": "milliliter", "min": "minute", "mins": "minute",
    "sec": "second", "secs": "second", "h": "hour", "hr": "hour", "hrs": "hour", "kw": "kilowatt", "kwh": "kilowatt hour", "gb": "gigabyte",
    "mb": "megabyte", "kb": "kilobyte", "tb": "terabyte", "hz": "hertz", "khz": "kilohertz", "mhz": "megahertz", "ghz": "gigahertz",
    "mph": "mile per hour", "km/h": "kilometer per hour", "kph": "kilometer per hour", "°c": "degree Celsius", "°f": "degree Fahrenheit",
    "°": "degree", "px": "pixel",
}  # fmt: skip
IRREGULAR_PLURALS = {
    "foot": "feet", "hertz": "hertz", "kilohertz": "kilohertz", "megahertz": "megahertz", "gigahertz": "gigahertz",
    "mile per hour": "miles per hour", "kilometer per hour": "kilometers per hour", "degree Celsius": "degrees Celsius",
    "degree Fahrenheit": "degrees Fahrenheit",
}  # fmt: skip

CURRENCIES = {
    "$": ("dollar", "cent"), "USD": ("dollar", "cent"), "US$": ("dollar", "cent"), "€": ("euro", "cent"), "EUR": ("euro", "cent"),
    "£": ("pound", "penny"), "GBP": ("pound", "penny"), "¥": ("yen", ""), "JPY": ("yen", ""), "₹": ("rupee", "paisa"),
    "INR": ("rupee", "paisa"), "CHF": ("franc", "centime"), "CAD": ("Canadian dollar", "cent"), "AUD": ("Australian dollar", "cent"),
}  # fmt: skip
MONEY_PLURALS = {"yen": "yen", "penny": "pence", "paisa": "paise"}

SAID_AS_WORDS = frozenset({
    "AM", "PM", "AND", "THE", "YOU", "FOR", "NOT", "BUT", "ALL", "CAN", "OUR", "NEW", "NOW", "YES", "NO", "PIN", "SIM", "VAT",
    "NASA", "OK", "ASAP", "RAM", "GIF", "CEO", "ZIP", "WIFI", "IN", "ON", "AT", "TO", "OF", "IS", "IT", "BE", "WE", "HE", "OR",
    "AN", "AS", "IF", "SO", "DO", "GO", "UP", "BY", "MY", "ME", "US", "HI",
})  # fmt: skip
"""Words of up to four capitals that are read as words, or that the voice spells correctly."""
SPELLED = frozenset({
    "ETA", "FAQ", "IT", "API", "URL", "PDF", "SMS", "USB", "GPS", "ATM", "DOB", "EU", "UK", "UN", "TV", "PC", "ID", "DNS", "SIP",
    "RTP", "VOIP", "HR", "PR", "PA", "IP", "AI", "ETD", "IBAN", "HTML", "CSS", "SQL", "HTTP",
})  # fmt: skip
"""Initials that are always spelled."""

SPOKEN_MARKS = {".": "dot", "@": "at", "_": "underscore", "-": "dash", "+": "plus", "/": "slash", ":": "colon", "~": "tilde", "&": "and"}
ORDINAL_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
