"""What can be asked of an opened scenario: each question of the protocol is answered by one module here."""
