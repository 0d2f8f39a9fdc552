"""What may be about a person: how it is masked for whom, and who was shown it."""

from app.privacy.fields import FIELDS, OF, Class, masked, names_somebody, searched

__all__ = ["FIELDS", "OF", "Class", "masked", "names_somebody", "searched"]
