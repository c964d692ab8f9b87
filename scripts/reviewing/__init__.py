"""The interview questions as cards: when each is due, how it is shown here, how Anki takes it."""
