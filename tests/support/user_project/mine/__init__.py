"""What a user of the package would write: one module for each kind of thing that a run file can name."""
