"""Reading code in text: fences, languages and their parsers, code without fences."""
