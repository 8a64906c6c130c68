"""Answers: where a generation's answer ends and which code in it is the answer's."""
